"""Rows chosen elsewhere, drawn over an image: kept results, parts of them, and tables that people bring."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, TooLargeError, UsageError
from skydesk_portal.pipeline.sky import invert_wcs, project
from skydesk_portal.services.explorer import is_numeric
from skydesk_portal.services.images import pack_points

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.models.resultsets import ResultSet
    from skydesk_portal.models.tables import ColumnInfo
    from skydesk_portal.pipeline import Pyramid
    from skydesk_portal.services.explorer import ResultExplorer
    from skydesk_portal.services.focalplanes import FocalPlane
    from skydesk_portal.services.images import ImageService
    from skydesk_portal.services.resultsets import ResultSetService

__all__ = ["PLACINGS", "CatalogPart", "ImageCatalogs", "guess_placing", "place_rows"]

PLACINGS = ("sky", "pixel0", "pixel1")
"""How two columns give a place: ICRS degrees, pixels counted from 0 in the image's own frame, or from 1 as in FITS."""

_MOST_POINTS = 1_000_000
_MOST_LABELS = 5_000
_MOST_LISTED = 30
_LONGEST_LABEL = 60
_SKY = (
    ("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec"), ("ra_deg", "dec_deg"), ("raj2000", "dej2000"),
    ("ra_icrs", "de_icrs"), ("_raj2000", "_dej2000"), ("ra2000", "dec2000"), ("raj2000", "decj2000"), ("alpha", "delta"),
    ("alpha_j2000", "delta_j2000"), ("right_ascension", "declination"),
)  # fmt: skip
_PIXELS = (("x", "y", "pixel0"), ("xcentroid", "ycentroid", "pixel0"), ("x_image", "y_image", "pixel1"))
# The inverse polynomials are fitted to the image: far off it they may lead back into it.
_REACH = 1.05


@dataclass(frozen=True)
class CatalogPart:
    """Which rows of a kept result are drawn, and where they lie.

    Parameters
    ----------
    result_id
        The result.
    placing
        One of `PLACINGS`.
    first, second
        Columns with the position.
    filters
        ADQL conditions that all have to hold.
    subset
        Name of the kept subset that is drawn alone, empty for all rows.
    """

    result_id: str
    placing: str
    first: str
    second: str
    filters: tuple[str, ...] = ()
    subset: str = ""


def guess_placing(columns: tuple[ColumnInfo, ...]) -> tuple[str, str, str] | None:
    """Return placing and columns of the position, after UCDs and the usual names; `None` without any."""
    numbers = [c for c in columns if is_numeric(c)]
    main = {
        part: next((c.name for c in numbers if (c.ucd or "").lower() == f"pos.eq.{part};meta.main"), None)
        for part in ("ra", "dec")
    }
    if main["ra"] and main["dec"]:
        return "sky", main["ra"], main["dec"]
    known = {c.name.lower(): c.name for c in numbers}
    for first, second, placing in (*((a, b, "sky") for a, b in _SKY), *_PIXELS):
        if first in known and second in known:
            return placing, known[first], known[second]
    return None


def place_rows(
    view: Pyramid | FocalPlane, placing: str, first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Find the rows that lie on an image.

    Parameters
    ----------
    view
        The image.
    placing
        One of `PLACINGS`.
    first, second
        Positions, shape ``(n,)``; NaN lies nowhere.

    Returns
    -------
    tuple of numpy.ndarray
        Numbers of the rows on the image, and their 0-based array pixels.

    Raises
    ------
    UsageError
        If there is no such placing.
    NotFoundError
        If the image has no sky coordinates and the positions are such.
    """
    if placing == "sky":
        fit = view.wcs_fit
        if fit is None:
            raise NotFoundError("this image has no sky coordinates: place the rows by columns of pixels")
        rows = _near(fit, first, second)
        x, y = invert_wcs(fit, first[rows], second[rows])
    elif placing in PLACINGS:
        rows = np.arange(first.size)
        # FITS counts from the first pixel of the array, the catalogs of releases in the image's own frame.
        x0, y0 = (1, 1) if placing == "pixel1" else view.xy0
        x, y = first - x0, second - y0
    else:
        raise UsageError(f"rows are placed by one of {', '.join(PLACINGS)}, not by {placing[:40]!r}")
    ny, nx = view.shape
    inside = (x >= -0.5) & (y >= -0.5) & (x < nx - 0.5) & (y < ny - 0.5)
    return rows[inside], np.asarray(x[inside]), np.asarray(y[inside])


def _near(
    fit: dict[str, Any], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the rows within what the inverse polynomials of an image were fitted to."""
    dec0 = np.radians(fit["crval"][1])
    with np.errstate(invalid="ignore"):
        ra, dec = np.radians(ra_deg - fit["crval"][0]), np.radians(dec_deg)
        front = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra) > 0.01
    rows = np.flatnonzero(front & (np.abs(dec_deg) <= 90))
    xi, eta = project(ra_deg[rows], dec_deg[rows], (fit["crval"][0], fit["crval"][1]))
    reach = _REACH * fit["inverse"]["scale_deg"]
    return np.asarray(rows[(np.abs(xi) <= reach) & (np.abs(eta) <= reach)])


class ImageCatalogs:
    """Places rows of people's kept results on images.

    Parameters
    ----------
    images
        The images.
    results
        The kept results.
    """

    def __init__(self, images: ImageService, results: ResultSetService) -> None:
        self._images = images
        self._results = results

    def list_results(self, identity: Identity) -> list[dict[str, Any]]:
        """List the caller's kept results, the newest first: ``result``, ``name``, ``rows``."""
        kept = sorted(self._results.store.list_all(identity.name), key=lambda r: r.created, reverse=True)
        return [{"result": r.id, "name": _name(r), "rows": r.rows} for r in kept[:_MOST_LISTED]]

    def receive(self, identity: Identity, name: str, content: bytes) -> dict[str, Any]:
        """Keep a table that somebody brings: VOTable, CSV, TSV, parquet or FITS.

        Returns
        -------
        dict
            As `describe`.

        Raises
        ------
        UsageError
            If it cannot be read as a table, or is too large.
        """
        stem = re.sub(r"\W", "_", PurePath(name).name.split(".")[0], flags=re.ASCII)[:40]
        table = stem if re.match(r"[A-Za-z]", stem) else f"t_{stem}"
        kept = self._results.run(identity, f"SELECT * FROM TAP_UPLOAD.{table}", uploads={table: content})
        return self.describe(identity, kept.id)

    def describe(self, identity: Identity, result_id: str) -> dict[str, Any]:
        """Tell what can be drawn of a result.

        Returns
        -------
        dict
            ``result``, ``name``, ``rows``, ``columns`` (all names), ``numbers`` (those that can be positions) and
            ``placing``: how and by which columns the rows are placed, if that can be guessed.
        """
        kept = self._results.get(identity, result_id)
        return {
            "result": kept.id,
            "name": _name(kept),
            "rows": kept.rows,
            "columns": [c.name for c in kept.columns],
            "numbers": [c.name for c in kept.columns if is_numeric(c)],
            "placing": guess_placing(kept.columns),
        }

    def pack(self, identity: Identity, release: str, dataset_id: str, part: CatalogPart) -> bytes:
        """Collect the rows that lie on an image.

        Returns
        -------
        bytes
            As `pack_points`; the identifiers are the numbers of the rows in the result.

        Raises
        ------
        TooLargeError
            If more rows lie on the image than can be drawn.
        UsageError
            If a column or condition is not accepted.
        """
        with closing(self._results.open(identity, part.result_id)) as explorer:
            rows, x, y = self._place(identity, release, dataset_id, part, explorer)
        return pack_points(rows, x, y)

    def list_labels(
        self, identity: Identity, release: str, dataset_id: str, part: CatalogPart, column: str
    ) -> list[str]:
        """Return what a column says of the rows that `pack` gives, in the same order.

        Raises
        ------
        TooLargeError
            If so many rows lie on the image that nobody could read the words.
        """
        with closing(self._results.open(identity, part.result_id)) as explorer:
            if explorer.find_column(column) is None:
                raise UsageError(f"there is no column {column[:60]!r}")
            rows, _, _ = self._place(identity, release, dataset_id, part, explorer)
            if rows.size > _MOST_LABELS:
                raise TooLargeError(
                    f"{rows.size} rows lie on this image: at most {_MOST_LABELS} are given words"
                )
            found = explorer.rows(rows).column(column).to_pylist()
        return ["" if value is None else _word(value) for value in found]

    def get_row(
        self, identity: Identity, result_id: str, number: int
    ) -> tuple[tuple[ColumnInfo, ...], Mapping[str, Any]]:
        """Return columns and values of a row."""
        with closing(self._results.open(identity, result_id)) as explorer:
            return explorer.columns, explorer.row(number)

    def _place(
        self, identity: Identity, release: str, dataset_id: str, part: CatalogPart, explorer: ResultExplorer
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        view = self._images.get_view(identity, release, dataset_id)
        rows, x, y = place_rows(
            view, part.placing, np.asarray(explorer.axis(part.first)), np.asarray(explorer.axis(part.second))
        )
        wanted = np.ones(rows.size, bool)
        if part.placing != "sky":
            wanted &= _measured_here(view, explorer, rows)
        if part.filters:
            wanted &= explorer.matches(part.filters)[rows] == 1
        if part.subset:
            wanted &= self._results.store.read_subset(explorer.result, part.subset)[rows] == 1
        rows, x, y = rows[wanted], x[wanted], y[wanted]
        if rows.size > _MOST_POINTS:
            raise TooLargeError(
                f"{rows.size} rows lie on this image, more than the {_MOST_POINTS} that are drawn: add a condition"
            )
        return rows, x, y


def _measured_here(
    view: Pyramid | FocalPlane, explorer: ResultExplorer, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which rows were measured on this image, where they say: pixels of another one mean nothing here."""
    out = np.ones(rows.size, bool)
    for name in ("visit", "detector"):
        column, value = explorer.find_column(name), (view.meta.get("data_id") or {}).get(name)
        if value is not None and column is not None and is_numeric(column):
            out &= np.asarray(explorer.axis(name))[rows] == float(value)
    return out


def _name(kept: ResultSet) -> str:
    """Call a result by its table, as people would."""
    found = re.search(r"\bFROM\s+(?:\w+\.)*(\w+)", kept.adql, re.IGNORECASE)
    return found[1] if found else kept.adql[:40]


def _word(value: Any) -> str:
    return (f"{value:.6g}" if isinstance(value, float) else str(value))[:_LONGEST_LABEL]
