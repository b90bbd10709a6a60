"""Alerts of releases: one by its identifier in several forms, many by what is known of them."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError
from skydesk_portal.models.alerts import (
    IAU_PREFIX,
    AlertQuery,
    AlertRow,
    format_cursor,
    parse_alert_id,
)
from skydesk_portal.models.datalink import Link
from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.services.alert_packets import AlertPacket
from skydesk_portal.storage.alerts import AlertIndex
from skydesk_portal.vo.alerts import alert_fits, cutouts_fits

if TYPE_CHECKING:
    from _typeshed import SupportsWrite as _SupportsWrite

    from skydesk_portal.pipeline import Release

    type SupportsWrite = _SupportsWrite[bytes]

__all__ = ["AlertFormat", "AlertService"]

_HIDDEN = ("file", "start", "length")


class AlertFormat(StrEnum):
    """Forms in which an alert can be had; the value is the media type."""

    AVRO = "application/x-avro-ocf"
    FITS = "application/fits"
    JSON = "application/json"
    CONFLUENT = "application/vnd.confluent.avro"

    @property
    def extension(self) -> str:
        """Ending of a file in this form."""
        return {"AVRO": "avro", "FITS": "fits", "JSON": "json", "CONFLUENT": "bin"}[self.name]

    @staticmethod
    def parse(text: str | None) -> AlertFormat:
        """Read the value of ``RESPONSEFORMAT``: a media type or the short name of the form.

        Raises
        ------
        UsageError
            If there is no such form.
        """
        wanted = (text or "avro").strip().lower()
        for form in AlertFormat:
            if wanted in (form.value, form.name.lower()):
                return form
        names = ", ".join(form.name.lower() for form in AlertFormat)
        raise UsageError(f"RESPONSEFORMAT: {wanted[:40]!r} is not one of {names}")


@lru_cache(maxsize=16)
def _load_schema(path: Path, created: str) -> tuple[dict[str, Any], Any]:
    """Read a schema as it is written and as the Avro library wants it."""
    import fastavro

    text = path.read_text(encoding="utf-8")
    return json.loads(text), fastavro.parse_schema(json.loads(text))


class _Target(io.RawIOBase):
    """What takes bytes one after the other, in the form that the Avro library wants."""

    def __init__(self, target: SupportsWrite) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(bytes(data))
        return len(data)


class AlertService:
    """Reads the alert packets of releases.

    Parameters
    ----------
    releases
        The releases.
    url
        Public base address.
    """

    def __init__(self, releases: ReleaseStore, url: str) -> None:
        self._releases = releases
        self._url = url

    def _candidates(self, identity: Identity, release: str | None) -> list[Release]:
        """List the releases that have alerts, the newest first."""
        if release is not None:
            found = self._releases.find(identity, release)
            if found is None:
                raise NotFoundError(f"there is no release {release[:40]!r}")
            if found.manifest.alerts is None:
                raise NotFoundError(f"release {release} has no alerts")
            return [found]
        having = [r for r in self._releases.list_visible(identity) if r.manifest.alerts is not None]
        return sorted(having, key=lambda r: r.manifest.created, reverse=True)

    def _find(self, identity: Identity, alert_id: int, release: str | None) -> tuple[Release, AlertRow]:
        for candidate in self._candidates(identity, release):
            row = AlertIndex(candidate.path / "alerts" / "index.sqlite").find(alert_id)
            if row is not None:
                return candidate, row
        raise NotFoundError(f"there is no alert {alert_id}")

    def _read(self, release: Release, row: AlertRow) -> bytes:
        with (release.path / "alerts" / row.file).open("rb") as stream:
            stream.seek(row.start)
            content = stream.read(row.length)
        if len(content) != row.length or content[:1] != b"\0":
            raise PortalError(f"the packet of alert {row.alert_id} is damaged")
        return content

    def _schema_of(self, release: Release, content: bytes) -> tuple[dict[str, Any], Any]:
        identifier = struct.unpack(">I", content[1:5])[0]
        path = release.path / "alerts" / f"schema-{identifier}.json"
        return _load_schema(path, release.manifest.created)

    def _decode(self, release: Release, row: AlertRow) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        import fastavro

        content = self._read(release, row)
        plain, parsed = self._schema_of(release, content)
        record = fastavro.schemaless_reader(io.BytesIO(content[5:]), parsed, None)
        assert isinstance(record, dict), "the schema's top is a record"
        return plain, parsed, record

    def get_alert(
        self, identity: Identity, alert_id: int, form: AlertFormat, release: str | None = None
    ) -> bytes:
        """Fetch one alert.

        Parameters
        ----------
        identity
            The caller.
        alert_id
            Identifier of its DIA source.
        form
            The form: an Avro file with its schema, FITS, JSON (cut-outs in base 64), or the packet as it was issued.
        release
            Name of the release; without it the newest that has the alert.

        Returns
        -------
        bytes
            The content.

        Raises
        ------
        NotFoundError
            If the caller sees no such alert.
        """
        found, row = self._find(identity, alert_id, release)
        if form is AlertFormat.CONFLUENT:
            return self._read(found, row)
        plain, parsed, record = self._decode(found, row)
        if form is AlertFormat.FITS:
            return alert_fits(plain, record)
        if form is AlertFormat.JSON:
            return json.dumps(_plain(record), allow_nan=False).encode()
        import fastavro

        buffer = io.BytesIO()
        fastavro.writer(buffer, parsed, [record], codec="deflate")
        return buffer.getvalue()

    def get_cutouts(self, identity: Identity, alert_id: int, release: str | None = None) -> bytes:
        """Fetch the cut-outs of an alert as FITS; parameters and errors are those of `get_alert`."""
        found, row = self._find(identity, alert_id, release)
        return cutouts_fits(self._decode(found, row)[2])

    def get_schema(self, identity: Identity, alert_id: int, release: str | None = None) -> dict[str, Any]:
        """Return the Avro schema of an alert; parameters and errors are those of `get_alert`."""
        found, row = self._find(identity, alert_id, release)
        return self._schema_of(found, self._read(found, row))[0]

    def get_packet(
        self, identity: Identity, alert_id: int, release: str | None = None
    ) -> tuple[str, AlertPacket]:
        """Return the release and the content of an alert; parameters and errors are those of `get_alert`."""
        found, row = self._find(identity, alert_id, release)
        plain, _parsed, record = self._decode(found, row)
        return found.name, AlertPacket(plain, record)

    def write_packets(
        self, identity: Identity, alert_ids: Sequence[int], release: str, target: SupportsWrite
    ) -> None:
        """Write alerts of one release into one Avro file.

        Parameters
        ----------
        identity
            Who may read them.
        alert_ids
            Their identifiers, in the order wanted.
        release
            The release.
        target
            Takes the bytes.

        Raises
        ------
        NotFoundError
            If the caller sees no such alert.
        """
        import fastavro

        found = [self._find(identity, alert_id, release) for alert_id in alert_ids]
        first = self._decode(*found[0])
        records = (self._decode(*one)[2] for one in found)
        fastavro.writer(cast("IO[bytes]", _Target(target)), first[1], records, codec="deflate")

    def list_after(self, release: Release, place: tuple[float, int] | None, limit: int) -> list[AlertRow]:
        """Return the alerts of a release behind a place, by time.

        Parameters
        ----------
        release
            A release with alerts.
        place
            Time (MJD TAI) and identifier of the alert before; `None` begins with the first.
        limit
            How many at most.
        """
        return AlertIndex(release.path / "alerts" / "index.sqlite").search(
            AlertQuery(limit=limit, after=place)
        )

    def list_newest(self, release: Release, limit: int) -> list[AlertRow]:
        """Return the newest alerts of a release, by time.

        Parameters
        ----------
        release
            A release with alerts.
        limit
            How many at most.
        """
        return AlertIndex(release.path / "alerts" / "index.sqlite").list_newest(limit)

    def find_row(self, release: Release, alert_id: int) -> AlertRow | None:
        """Return what the index of a release says of an alert, `None` if it has none such."""
        if release.manifest.alerts is None:
            return None
        return AlertIndex(release.path / "alerts" / "index.sqlite").find(alert_id)

    def list_releases(self, identity: Identity) -> list[str]:
        """Return the names of the releases that have alerts, the newest first."""
        return [release.name for release in self._candidates(identity, None)]

    def list_links(self, identity: Identity, ids: list[str], release: str | None = None) -> list[Link]:
        """Return what belongs to some alerts.

        Parameters
        ----------
        identity
            The caller.
        ids
            Identifiers as given; a wrong one gets a row with the error.
        release
            Name of the release; without it the newest that has the alert.

        Returns
        -------
        list of Link
            Rows in the order of the identifiers.
        """
        out: list[Link] = []
        for text in ids:
            try:
                found, row = self._find(identity, parse_alert_id(text), release)
            except NotFoundError as error:
                out.append(Link(text, "#this", error_message=f"NotFoundFault: {error}"))
            except PortalError as error:
                out.append(Link(text, "#this", error_message=f"UsageFault: {error}"))
            else:
                out += self._links_of(text, found, row)
        return out

    def _links_of(self, text: str, release: Release, row: AlertRow) -> list[Link]:
        base, tail = f"{self._url}/api/alerts", f"?ID={row.alert_id}&RELEASE={release.name}"
        entries = (
            ("#this", "Alert packet (Avro)", f"{base}{tail}", AlertFormat.AVRO),
            ("#this", "Alert packet (FITS)", f"{base}{tail}&RESPONSEFORMAT=fits", AlertFormat.FITS),
            ("#this", "Alert packet (JSON)", f"{base}{tail}&RESPONSEFORMAT=json", AlertFormat.JSON),
            (
                "#cutout",
                "Difference, science and template cut-outs",
                f"{base}/cutouts{tail}",
                AlertFormat.FITS,
            ),
            ("#detached-header", "Avro schema", f"{base}/schema{tail}", AlertFormat.JSON),
        )
        return [
            Link(text, semantics, words, access_url=address, content_type=form.value)
            for semantics, words, address, form in entries
        ]

    def find_links(self, identity: Identity, text: str, alert_id: int, release: str) -> list[Link]:
        """Return what a DIA source has as an alert; nothing where the release has no alert of it.

        Parameters
        ----------
        identity
            The caller.
        text
            Identifier of the DIA source as it was asked for.
        alert_id, release
            The source.
        """
        try:
            found, row = self._find(identity, alert_id, release)
        except NotFoundError:
            return []
        authorized = "read:alertdb" in identity.scopes
        return [
            replace(
                link,
                semantics="#derivation" if link.semantics == "#this" else link.semantics,
                local_semantics="alert",
                link_auth="true",
                link_authorized=authorized,
            )
            for link in self._links_of(text, found, row)
            if link.semantics in ("#this", "#cutout")
        ]

    def search(
        self, identity: Identity, query: AlertQuery, parameters: list[tuple[str, str]], release: str | None
    ) -> dict[str, Any]:
        """Search alerts.

        Parameters
        ----------
        identity
            The caller.
        query
            The conditions.
        parameters
            What they were read from, for the address of the next page.
        release
            Name of the release; without it the newest that has alerts.

        Returns
        -------
        dict
            ``release``, ``alerts`` (rows of the index by time) and ``next``, the address of the next page or None.

        Raises
        ------
        NotFoundError
            If there is no release with alerts.
        """
        found = self._candidates(identity, release)
        if not found:
            raise NotFoundError("there is no release with alerts")
        chosen = found[0]
        rows = AlertIndex(chosen.path / "alerts" / "index.sqlite").search(query)
        return {
            "version": 1,
            "release": chosen.name,
            "alerts": [self._describe(chosen, row) for row in rows],
            "next": self._next_page(chosen, parameters, rows[-1]) if len(rows) == query.limit else None,
        }

    def _describe(self, release: Release, row: AlertRow) -> dict[str, Any]:
        facts = {k: v for k, v in asdict(row).items() if k not in _HIDDEN}
        return {
            **facts,
            "name": f"{IAU_PREFIX}{row.alert_id}",
            "url": f"{self._url}/api/alerts?ID={row.alert_id}&RELEASE={release.name}",
        }

    def _next_page(self, release: Release, parameters: list[tuple[str, str]], last: AlertRow) -> str:
        from urllib.parse import urlencode

        kept = [(k, v) for k, v in parameters if k.upper() not in ("CURSOR", "RELEASE")]
        kept += [("RELEASE", release.name), ("CURSOR", format_cursor(last))]
        return f"{self._url}/api/alerts/search?{urlencode(kept)}"


def _plain(value: Any) -> Any:
    """Turn a record into what JSON can hold: bytes in base 64, null for what is no number."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return None if isinstance(value, float) and not math.isfinite(value) else value
