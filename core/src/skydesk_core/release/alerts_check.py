"""Checking the alert packets of a release."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skydesk_core.release.opened import Release

__all__ = ["check_alerts"]


def check_alerts(release: Release) -> Iterator[str]:
    """Check that every alert packet of the index is there, whole and of the schema.

    Parameters
    ----------
    release
        The release; one without alerts has nothing to check.

    Yields
    ------
    str
        One sentence for each thing that is wrong.
    """
    entry = release.manifest.alerts
    if entry is None:
        return
    folder = release.path / "alerts"
    try:
        schema = json.loads((folder / f"schema-{entry.schema_id}.json").read_text(encoding="utf-8"))
        with sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro&immutable=1", uri=True) as db:
            rows = db.execute("SELECT alert_id, file, start, length, sha256 FROM alert").fetchall()
        db.close()
    except (OSError, ValueError, sqlite3.Error) as error:
        yield f"alerts cannot be read: {error}"
        return
    if len(rows) != entry.count:
        yield f"alerts: {len(rows)} in the index, the manifest says {entry.count}"
    yield from _check_packets(folder, rows, schema)


def _check_packets(
    folder: Path, rows: list[tuple[int, str, int, int, str]], schema: dict[str, Any]
) -> Iterator[str]:
    import fastavro

    parsed = fastavro.parse_schema(schema)
    for alert_id, file, start, length, digest in rows:
        try:
            with (folder / file).open("rb") as stream:
                stream.seek(start)
                content = stream.read(length)
        except OSError as error:
            yield f"alerts/{file}: {error.strerror}"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            yield f"alert {alert_id}: its packet has changed since it was published"
            continue
        record = fastavro.schemaless_reader(io.BytesIO(content[5:]), parsed, None)
        if not isinstance(record, dict) or record["diaSourceId"] != alert_id:
            yield f"alert {alert_id}: its packet is another's"
