"""A batch request: which pipeline on what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from skydesk_portal.exceptions import UsageError

__all__ = ["BatchRequest", "parse_batch"]

_PIPELINE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}(#[A-Za-z0-9_,.]{1,300})?\Z")
_OUTPUT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}\Z")


@dataclass(frozen=True)
class BatchRequest:
    """One run of a packaged pipeline.

    Parameters
    ----------
    pipeline
        Name, with ``#label,label`` for a part.
    where
        Data query of the Butler, empty for everything.
    release
        Release that the inputs come from.
    output
        Last part of the output collection's name, `None` for the job's own.
    """

    pipeline: str
    where: str
    release: str
    output: str | None = None


def parse_batch(parameters: Sequence[tuple[str, str]]) -> BatchRequest:
    """Read the parameters of a batch job.

    Parameters
    ----------
    parameters
        Names in any case and values: PIPELINE, WHERE, RELEASE, OUTPUT.

    Returns
    -------
    BatchRequest
        The request.

    Raises
    ------
    UsageError
        If a parameter is missing, unknown or wrong.
    """
    values: dict[str, str] = {}
    for name, value in parameters:
        key = {"DATA_QUERY": "WHERE", "DATAQUERY": "WHERE"}.get(name.upper(), name.upper())
        if key not in {"PIPELINE", "WHERE", "RELEASE", "OUTPUT"}:
            raise UsageError(
                f"{name[:30]} is not a parameter of batch jobs: PIPELINE, WHERE, RELEASE, OUTPUT"
            )
        values[key] = value.strip()
    pipeline = values.get("PIPELINE", "")
    # Packaged pipelines only: a file could name any class, and it would run as the platform.
    if not _PIPELINE.match(pipeline):
        raise UsageError(f"PIPELINE={pipeline[:60]!r} is not the name of a pipeline such as DRP or DRP#isr")
    if not values.get("RELEASE"):
        raise UsageError("parameter RELEASE is missing: the release that the inputs come from")
    where = values.get("WHERE", "")
    if len(where) > 10_000 or ";" in where:
        raise UsageError("WHERE is not a data query such as instrument='SimCam' AND visit=3")
    output = values.get("OUTPUT") or None
    if output is not None and not _OUTPUT.match(output):
        raise UsageError(f"OUTPUT={output[:60]!r} is not a name of letters, digits, '_', '.' and '-'")
    return BatchRequest(pipeline, where, values["RELEASE"], output)
