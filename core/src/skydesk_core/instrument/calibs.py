"""Make calibrations valid: put them into an instrument's calibration collection for a span of time."""

from __future__ import annotations

from collections.abc import Iterable

from astropy.time import Time
from lsst.daf.butler import Butler, DatasetRef, MissingCollectionError, MissingDatasetTypeError, Timespan

from skydesk_core.errors import NotFoundError, UsageError

__all__ = ["CALIBRATION_TYPES", "certify_calibrations"]

CALIBRATION_TYPES = ("bias", "dark", "flat", "defects")


def _find(butler: Butler, collection: str, name: str) -> list[DatasetRef]:
    try:
        refs = butler.query_datasets(name, collections=collection, find_first=True, limit=None, explain=False)
    except MissingCollectionError:
        raise NotFoundError(f"no collection {collection}") from None
    except MissingDatasetTypeError:
        raise NotFoundError(f"no dataset type {name}") from None
    return list(refs)


def certify_calibrations(
    butler: Butler,
    collection: str,
    types: Iterable[str] = (),
    *,
    begin: Time | None = None,
    end: Time | None = None,
) -> dict[str, int]:
    """Certify the calibrations of a collection for their instrument.

    What was certified before for the same detectors and times gives way.

    Parameters
    ----------
    butler
        A writeable Butler.
    collection
        Collection that holds them, for instance the output of the pipeline
        ``CPP``.
    types
        Dataset types; all of `CALIBRATION_TYPES` that are there without it.
    begin, end
        Span of time in which they are valid; unbounded without it.

    Returns
    -------
    dict
        Number of certified datasets by type.

    Raises
    ------
    NotFoundError
        If the collection does not exist or holds nothing of that kind.
    UsageError
        If a dataset type is no calibration, or the span is empty.
    """
    span = Timespan(begin, end)
    if span.isEmpty():
        raise UsageError("the span of validity is empty: begin is not before end")
    wanted = list(types)
    counts: dict[str, int] = {}
    with butler.transaction():
        for name in wanted or CALIBRATION_TYPES:
            refs = _find(butler, collection, name)
            if not refs:
                if wanted:
                    raise NotFoundError(f"collection {collection} holds no {name}")
                continue
            if not butler.get_dataset_type(name).isCalibration():
                raise UsageError(f"dataset type {name} is not a calibration")
            by_instrument: dict[str, list[DatasetRef]] = {}
            for ref in refs:
                by_instrument.setdefault(str(ref.dataId["instrument"]), []).append(ref)
            for instrument, group in by_instrument.items():
                target = f"{instrument}/calib"
                # The middleware cannot decertify a type of which nothing was ever certified.
                summary = butler.registry.getCollectionSummary(target)
                if name in summary.dataset_types.names:
                    butler.registry.decertify(target, name, span, dataIds=[ref.dataId for ref in group])
                butler.registry.certify(target, group, span)
            counts[name] = len(refs)
    if not counts:
        raise NotFoundError(f"collection {collection} holds no calibrations ({', '.join(CALIBRATION_TYPES)})")
    return counts
