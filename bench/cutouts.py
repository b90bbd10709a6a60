"""Benchmarks of cut-outs on a platform that is up: single ones, and a thousand in one bulk job."""

from __future__ import annotations

import csv
import io
import statistics
import tarfile
import time

import httpx

from bench.record import Measurement
from bench.services import find_first_user
from bench.stack import Stack

__all__ = ["measure_cutouts"]

SINGLE = 200
BULK = 1000
BULK_LIMIT_S = 10.0
SINGLE_LIMIT_MS = 150.0
JOB_LIMIT_S = 300.0


def measure_cutouts(stack: Stack, release: str) -> list[Measurement]:
    """Measure cut-outs of coadds around objects, seen from the client.

    Parameters
    ----------
    stack
        The platform.
    release
        Name of a release with coadds and a table Object.
    """
    token = stack.make_token(find_first_user(stack), "read:tap", "read:image")
    with httpx.Client(
        base_url=stack.url, headers={"Authorization": f"Bearer {token}"}, timeout=120, follow_redirects=True
    ) as client:
        objects = _query(client, f"SELECT TOP {BULK} coord_ra, coord_dec FROM {release}.Object")
        coadds = _query(
            client,
            "SELECT obs_publisher_did, lsst_tract, lsst_band FROM ivoa.ObsCore "
            f"WHERE obs_collection = '{release}' AND dataset_type = 'deep_coadd'",
        )
        return [*_measure_single(client, objects, coadds, release), *_measure_bulk(client, objects, coadds)]


def _query(client: httpx.Client, adql: str) -> list[list[str]]:
    answer = client.post("/api/tap/sync", data={"LANG": "ADQL", "QUERY": adql, "RESPONSEFORMAT": "csv"})
    answer.raise_for_status()
    return list(csv.reader(io.StringIO(answer.text)))[1:]


def _measure_single(
    client: httpx.Client, objects: list[list[str]], coadds: list[list[str]], release: str
) -> list[Measurement]:
    found = []
    for name, what, more in (
        ("cutout_sync", "image alone", {}),
        ("cutout_sync_masked", "with mask and variance", {"CUTOUTDETAIL": "MaskedImage"}),
        ("cutout_sync_exposure", "whole object with PSF", {"CUTOUTDETAIL": "Exposure"}),
    ):
        times_ms = []
        for number in range(SINGLE):
            ra, dec = objects[number % len(objects)][:2]
            if "Exposure" in more.values():
                dataset = coadds[number % len(coadds)][0]
            else:
                _, tract, band = coadds[number % len(coadds)]
                dataset = f"ivo://skydesk/{release}?repo={release}&type=deep_coadd&tract={tract}&band={band}"
            begun = time.perf_counter()
            answer = client.get(
                "/api/cutout/sync", params={"ID": dataset, "CIRCLE": f"{ra} {dec} {5 / 3600}", **more}
            )
            times_ms.append(1e3 * (time.perf_counter() - begun))
            answer.raise_for_status()
        p95 = statistics.quantiles(times_ms, n=20)[-1]
        found.append(
            Measurement(f"{name}_p50", statistics.median(times_ms), "ms", f"cut-out of 10″, {what}, median")
        )
        found.append(
            Measurement(
                f"{name}_p95",
                p95,
                "ms",
                f"cut-out of 10″, {what}, 95th percentile",
                "promise",
                SINGLE_LIMIT_MS,
            )
        )
    return found


def _measure_bulk(
    client: httpx.Client, objects: list[list[str]], coadds: list[list[str]]
) -> list[Measurement]:
    rows = "\n".join(f"{i},{ra},{dec}" for i, (ra, dec, *_) in enumerate((objects * BULK)[:BULK]))
    content = f"id,ra,dec\n{rows}\n".encode()
    begun = time.perf_counter()
    answer = client.post(
        "/api/cutout/bulk",
        data={"UPLOAD": "positions,param:file", "BANDS": coadds[0][2], "SIZE": "10", "PHASE": "RUN"},
        files={"file": ("positions.csv", content)},
        follow_redirects=False,
    )
    job = answer.headers["location"]
    while (phase := client.get(job + "/phase", params={"WAIT": "10"}).text) in {"QUEUED", "EXECUTING"}:
        if time.perf_counter() - begun > JOB_LIMIT_S:
            raise TimeoutError(f"the bulk job does not end: {client.get(job).text}")
    archive = client.get(job + "/results/archive")
    took_s = time.perf_counter() - begun
    archive.raise_for_status()
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as members:
        made = sum(name.endswith(".fits") for name in members.getnames())
    if phase != "COMPLETED" or made != BULK:
        raise RuntimeError(f"the bulk job made {made} of {BULK} cut-outs: {phase}")
    what = f"{BULK} cut-outs of 10″ from coadds in one bulk job, from the request to the fetched archive"
    return [Measurement("cutout_bulk_1000", took_s, "s", what, "promise", BULK_LIMIT_S)]
