"""Bulk cut-outs: thousands of positions in one job, grouped by image, as one archive with an index."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import (
    DiskFullError,
    ForbiddenError,
    PortalError,
    TooLargeError,
    UsageError,
)
from skydesk_portal.models.bulk import BulkRequest, ImageWork, Positions, StampRow, parse_bulk
from skydesk_portal.models.cutouts import CutoutDetail
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import FINAL_PHASES, Job
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.bulk_archive import append_tar, finish_tar, index_table, write_index
from skydesk_portal.services.bulk_plan import BulkPlan, make_plan
from skydesk_portal.services.bulk_stamps import StampMaker
from skydesk_portal.services.execution import owner_of
from skydesk_portal.services.soda import SodaService
from skydesk_portal.uws.runner import JobContext
from skydesk_portal.vo.uploads import read_table

if TYPE_CHECKING:
    from skydesk_portal.services.jobs import JobService
    from skydesk_portal.services.tap import TapService

__all__ = ["BulkExecutor", "BulkService"]

_NAMES = {
    "RACOL": ("ra", "ra_deg", "coord_ra", "raj2000", "ra_j2000", "s_ra"),
    "DECCOL": ("dec", "dec_deg", "coord_dec", "decj2000", "dej2000", "dec_j2000", "s_dec"),
    "IDCOL": ("id", "objectid", "diaobjectid", "sourceid", "diasourceid", "name", "source_id"),
    "SIZECOL": ("size", "size_arcsec"),
}
_UCDS = {"RACOL": "pos.eq.ra", "DECCOL": "pos.eq.dec", "IDCOL": "meta.id"}
_BYTES_A_PIXEL = 12
_BYTES_A_FILE = 15_000


class BulkService:
    """Finds the positions and images of bulk requests.

    Parameters
    ----------
    soda
        Cut-outs of single images.
    tap
        Reads positions from tables and finds images.
    config
        Limits.
    """

    def __init__(self, soda: SodaService, tap: TapService, config: PortalConfig) -> None:
        self.soda = soda
        self._tap = tap
        self._config = config

    def check(
        self, identity: Identity, parameters: Sequence[tuple[str, str]], files: Mapping[str, bytes]
    ) -> None:
        """Refuse a request that cannot be done, before a job is made of it.

        Raises
        ------
        UsageError
            If it is wrong.
        ForbiddenError
            If it queries tables and the token may not.
        """
        request = parse_bulk(parameters)
        if request.query and "read:tap" not in identity.scopes:
            raise ForbiddenError("QUERY needs a token with the scope read:tap")
        for name, source in request.uploads:
            if source.lower().startswith("param:"):
                content = files.get(source[6:])
                if content is None:
                    raise UsageError(f"UPLOAD {name}: the request has no part called {source[6:][:40]}")
                if not request.query:
                    self._read_upload(request, name, content)
            elif not {"read:tap", "write:files"} <= identity.scopes:
                raise ForbiddenError(
                    "UPLOAD of an address needs a token with the scopes read:tap and write:files"
                )
        self.find_release(identity, request)

    def find_release(self, identity: Identity, request: BulkRequest) -> Any:
        """Return the release that a request means.

        Raises
        ------
        UsageError
            If it names none and there are several.
        NotFoundError
            If the caller has none of that name.
        """
        if request.release is not None:
            return self.soda.get_release(identity, request.release)
        visible = self.soda.list_releases(identity)
        if len(visible) != 1:
            names = ", ".join(release.name for release in visible)
            raise UsageError(
                f"parameter RELEASE is missing: one of {names}" if visible else "there is no release"
            )
        return visible[0]

    def _read_upload(self, request: BulkRequest, name: str, content: bytes) -> Positions:
        columns, table = read_table(f"UPLOAD {name}", content, self._config.upload_bytes)
        return self._to_positions(request, [(c.name, c.ucd) for c in columns], table)

    def read_positions(
        self,
        identity: Identity,
        request: BulkRequest,
        files: Mapping[str, bytes],
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> Positions:
        """Read the positions of a request.

        Raises
        ------
        UsageError
            If the table has no positions.
        TooLargeError
            If it has too many.
        """
        if not request.query:
            name, source = request.uploads[0]
            if source.lower().startswith("param:"):
                content = files.get(source[6:])
                if content is None:
                    raise UsageError(f"UPLOAD {name}: the request has no part called {source[6:][:40]}")
                return self._read_upload(request, name, content)
        query = request.query or f"SELECT * FROM TAP_UPLOAD.{request.uploads[0][0]}"
        asked = TapRequest(query, self._config.bulk_cutouts + 1, None, request.uploads)
        stream = self._tap.open_stream(identity, asked, timeout_s=0, files=dict(files), on_start=on_start)
        batches = list(stream.batches())
        table = pa.Table.from_batches(batches, schema=batches[0].schema if batches else stream.schema)
        return self._to_positions(request, [(c.name, c.ucd) for c in stream.columns], table)

    def _to_positions(
        self, request: BulkRequest, columns: Sequence[tuple[str, str]], table: pa.Table
    ) -> Positions:
        n = table.num_rows
        if n > self._config.bulk_cutouts:
            raise TooLargeError(
                f"more positions than the {self._config.bulk_cutouts} that the setting portal.bulk_cutouts allows"
            )
        found = {role: _find_column(role, columns, request.columns.get(role)) for role in _NAMES}
        for role, word in (("RACOL", "right ascension"), ("DECCOL", "declination")):
            if found[role] is None:
                raise UsageError(
                    f"the table has no column of {word}: call it {_NAMES[role][0]} or give {role}"
                )
        ra, dec = (_numbers(table.column(found[role])) for role in ("RACOL", "DECCOL"))
        size = np.full(n, request.size_arcsec)
        if (index := found["SIZECOL"]) is not None:
            size = _numbers(table.column(index))
        ids = [str(i + 1) for i in range(n)]
        if (index := found["IDCOL"]) is not None:
            ids = [str(v) if v is not None else ids[i] for i, v in enumerate(table.column(index).to_pylist())]
        return Positions(ids, ra, dec, size)

    def plan(self, identity: Identity, request: BulkRequest, positions: Positions) -> BulkPlan:
        """Find the images of a request.

        Raises
        ------
        TooLargeError
            If there would be too many cut-outs.
        """
        release = self.find_release(identity, request)
        plan = make_plan(self._tap, self.soda.mosaics, identity, release, request, positions)
        count = sum(len(work.rows) for work in plan.images)
        if count > self._config.bulk_cutouts:
            raise TooLargeError(
                f"{count} cut-outs are more than the {self._config.bulk_cutouts} that the setting "
                "portal.bulk_cutouts allows: ask for fewer positions, dataset types or bands"
            )
        return plan


def _find_column(role: str, columns: Sequence[tuple[str, str]], named: str | None) -> int | None:
    names = [name.lower() for name, _ in columns]
    if named is not None:
        if named.lower() not in names:
            raise UsageError(f"{role}={named[:40]} is not a column of the table")
        return names.index(named.lower())
    for name in _NAMES[role]:
        if name in names:
            return names.index(name)
    wanted = _UCDS.get(role)
    marked = [i for i, (_, ucd) in enumerate(columns) if wanted and (ucd or "").lower().startswith(wanted)]
    return next((i for i in marked if "meta.main" in columns[i][1].lower()), marked[0] if marked else None)


def _numbers(column: Any) -> NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise UsageError("positions and sizes must be columns of numbers, in degrees and arcseconds")
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), float)


def _save(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


class BulkExecutor:
    """Makes bulk cut-outs in a worker; each image that is done stays done if the worker is killed.

    Parameters
    ----------
    bulk
        Finds positions and images.
    jobs
        The jobs and the files sent along with them.
    config
        Limits.
    """

    def __init__(self, bulk: BulkService, jobs: JobService, config: PortalConfig) -> None:
        self._bulk = bulk
        self._jobs = jobs
        self._config = config

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Make the cut-outs of a job.

        Returns
        -------
        list of tuple
            The archive, and its index as VOTable and parquet.

        Raises
        ------
        PortalError
            If the request is wrong or the job is stopped.
        """
        # Beside the folders of the attempts, so that the next attempt finds it.
        work = context.folder.parent / "work"
        work.mkdir(exist_ok=True)
        begun = time.monotonic()
        try:
            results = self._execute(job, context, work)
        except PortalError:
            found = self._jobs.store.find(job.id)
            late = 0 < job.execution_seconds <= time.monotonic() - begun
            # What another worker may go on with stays: this one was told to end, the job was not.
            if found is None or found.phase in FINAL_PHASES or late or not context.stopped:
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)
        return results

    def _execute(self, job: Job, context: JobContext, work: Path) -> list[tuple[str, Path, str]]:
        identity = owner_of(job)
        request = parse_bulk(job.parameters)
        positions = self._read_positions(job, identity, request, context, work)
        plan = self._bulk.plan(identity, request, positions)
        self._check_disk(request, positions, plan, work)
        maker = StampMaker(self._bulk.soda, plan.release, request, positions, self._config.cutout_pixels)
        total, done = sum(len(image.rows) for image in plan.images), 0
        context.report(done=0, total=total, images=len(plan.images))
        parts: list[tuple[Path, list[StampRow]]] = []
        for number, image in enumerate(plan.images):
            parts.append(self._make_part(maker, image, work / f"part-{number:06d}", context, done))
            done += len(image.rows)
            context.report(done=done)
        rows = _complete([row for _, found in parts for row in found], plan, request, positions)
        return _finish(context, [path for path, _ in parts], rows)

    def _read_positions(
        self, job: Job, identity: Identity, request: BulkRequest, context: JobContext, work: Path
    ) -> Positions:
        """Read the positions once: a table that changes between two attempts must not mix up their parts."""
        kept = work / "positions.parquet"
        if not kept.exists():
            found = self._bulk.read_positions(
                identity, request, self._jobs.read_files(job), on_start=context.on_stop
            )
            table = pa.table(
                {"id": found.ids, "ra": found.ra_deg, "dec": found.dec_deg, "size": found.size_arcsec}
            )
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            _save(kept, sink.getvalue().to_pybytes())
        table = pq.read_table(kept)
        ra, dec, size = (table.column(n).to_numpy() for n in ("ra", "dec", "size"))
        return Positions(table.column("id").to_pylist(), ra, dec, size)

    def _check_disk(self, request: BulkRequest, positions: Positions, plan: BulkPlan, work: Path) -> None:
        size = np.nan_to_num(positions.size_arcsec)
        pixels = sum(float(((size[image.rows] / plan.scale_arcsec) ** 2).sum()) for image in plan.images)
        count = sum(len(image.rows) for image in plan.images)
        each = 4 if request.detail is CutoutDetail.IMAGE else _BYTES_A_PIXEL
        needed = 2 * int(pixels * each + count * _BYTES_A_FILE)
        if needed > shutil.disk_usage(work).free:
            raise DiskFullError(
                f"the archive would need about {needed / 1e9:.1f} GB, there is not so much room"
            )

    def _make_part(
        self,
        maker: StampMaker,
        image: ImageWork,
        path: Path,
        context: JobContext,
        before: int,
    ) -> tuple[Path, list[StampRow]]:
        tar, index = path.with_suffix(".tar"), path.with_suffix(".json")
        if index.exists():
            # Made by an attempt before; its index is renamed into place last.
            return tar, [StampRow(**row) for row in json.loads(index.read_text())]
        rows: list[StampRow] = []
        fresh = tar.with_name(f".{tar.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with fresh.open("wb") as out:
                for number, (row, content) in enumerate(maker.make(image), 1):
                    if context.stopped:
                        raise PortalError("the job was aborted")
                    if row.file_name is not None and content is not None:
                        append_tar(out, row.file_name, content)
                    rows.append(row)
                    if number % 50 == 0:
                        context.report(done=before + number)
            fresh.replace(tar)
        finally:
            fresh.unlink(missing_ok=True)
        _save(index, json.dumps([asdict(row) for row in rows]).encode())
        return tar, rows


def _complete(
    rows: list[StampRow], plan: BulkPlan, request: BulkRequest, positions: Positions
) -> list[StampRow]:
    """Add a row for each position, dataset type and band without an image, and sort."""
    covered = {(row.row, row.dataset_type, row.band) for row in rows}
    for kind in request.dataset_types:
        for band in plan.bands[kind]:
            for i in range(len(positions)):
                if (i + 1, kind, band) in covered:
                    continue
                ra, dec = float(positions.ra_deg[i]), float(positions.dec_deg[i])
                status, message = "no image", "no image of this kind lies here"
                if not plan.usable[i]:
                    status, message = "error", "UsageError: not a position on the sky, or not a size"
                rows.append(
                    StampRow(
                        i + 1,
                        positions.ids[i],
                        ra if np.isfinite(ra) else None,
                        dec if np.isfinite(dec) else None,
                        kind,
                        band,
                        status,
                        message,
                    )
                )
    kinds = {kind: n for n, kind in enumerate(request.dataset_types)}
    return sorted(
        rows,
        key=lambda r: (r.row, kinds[r.dataset_type], r.band, r.visit or 0, r.detector or 0, r.tract or 0),
    )


def _finish(context: JobContext, parts: Sequence[Path], rows: list[StampRow]) -> list[tuple[str, Path, str]]:
    table = index_table(rows)
    votable, parquet = context.folder / "index.vot", context.folder / "index.parquet"
    write_index(table, votable, parquet)
    archive = context.folder / "cutouts.tar"
    with archive.open("wb") as out:
        for path in parts:
            with path.open("rb") as part:
                while chunk := part.read(1 << 20):
                    if context.stopped:
                        raise PortalError("the job was aborted")
                    out.write(chunk)
        append_tar(out, "index.parquet", parquet.read_bytes())
        append_tar(out, "index.vot", votable.read_bytes())
        finish_tar(out)
    counts = {
        status: sum(row.status == status for row in rows) for status in ("ok", "partial", "no image", "error")
    }
    context.report(**{name.replace(" ", "_"): count for name, count in counts.items()})
    return [
        ("archive", archive, "application/x-tar"),
        ("index", votable, "application/x-votable+xml"),
        ("index.parquet", parquet, "application/vnd.apache.parquet"),
    ]
