"""A generated release as large as a survey's field catalogs: 1e7 objects and 5e7 forced sources by default."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_core.release.healpix import to_hp29
from skydesk_core.release.sdm import from_numpy
from skydesk_core.release.testing import make_scene
from skydesk_core.release.testing_images import BANDS, SKYMAP, SyntheticRepo
from skydesk_core.release.writer import ReleaseBuilder

__all__ = ["CENTERS_DEG", "FORCED_COLUMNS", "OBJECT_COLUMNS", "make_large_release"]

CENTERS_DEG = (
    (53.13, -28.10),
    (6.02, -72.08),
    (37.86, 6.98),
    (40.00, -34.45),
    (59.10, -48.73),
    (95.00, -25.00),
    (106.23, -10.51),
)
"""Centres of the seven fields (RA, Dec in ICRS degrees): those of Data Preview 1."""

RADIUS_DEG = 1.1
FIRST_SHARE = 0.35
"""The first field holds this share of all objects; the others divide the rest."""

OBJECT_COLUMNS = (
    "objectId",
    "tract",
    "patch",
    "coord_ra",
    "coord_dec",
    "refBand",
    "refExtendedness",
    "detect_isIsolated",
    *(f"{band}_{name}" for band in BANDS for name in ("psfFlux", "psfFluxErr", "psfMag", "cModelFlux")),
)
"""The twenty published columns of Object, without the HEALPix indices that every position gets."""

FORCED_COLUMNS = (
    "objectId",
    "coord_ra",
    "coord_dec",
    "visit",
    "detector",
    "band",
    "psfFlux",
    "psfFluxErr",
)
"""The eight published columns of ForcedSource, without the HEALPix indices."""

type Positions = tuple[NDArray[np.float64], NDArray[np.float64]]


def make_large_release(
    path: Path, name: str = "large", objects: int = 10_000_000, epochs: int = 5, seed: int = 20261124
) -> None:
    """Write a release with big Object and ForcedSource tables, and a few small images.

    Parameters
    ----------
    path
        Folder of the new release.
    name
        Its name.
    objects
        Rows of Object.
    epochs
        Rows of ForcedSource for each object.
    seed
        Seed of everything random; equal arguments give equal tables.
    """
    rng = np.random.default_rng(seed)
    ra_deg, dec_deg = _scatter(rng, objects)
    flux = 10 ** (-0.4 * (np.clip(18.0 + 8.0 * rng.power(3.0, objects), 17.0, 27.0) - 31.4))
    scene = make_scene(200, 6, seed)
    with ReleaseBuilder(path, name, f"Generated release of {objects:,} objects", BANDS) as builder:
        with SyntheticRepo(builder.butler_path, scene.visits) as repo:
            repo.put_images(scene, scene.visits[:1], dict.fromkeys(BANDS, 10.0), seed)
        builder.add_table("Object", _make_objects(rng, ra_deg, dec_deg, flux))
        builder.add_table("ForcedSource", _make_forced(rng, ra_deg, dec_deg, flux, epochs))
        builder.finish("synthetic", SKYMAP, "SimCam")


def _scatter(rng: np.random.Generator, objects: int) -> Positions:
    """Draw positions in the fields, in the order in which a release stores them."""
    share = [FIRST_SHARE] + [(1 - FIRST_SHARE) / (len(CENTERS_DEG) - 1)] * (len(CENTERS_DEG) - 1)
    field = rng.choice(len(CENTERS_DEG), objects, p=share)
    middle = np.array(CENTERS_DEG)[field]
    radius_deg = RADIUS_DEG * np.sqrt(rng.random(objects))
    angle = 2 * np.pi * rng.random(objects)
    dec_deg = middle[:, 1] + radius_deg * np.sin(angle)
    ra_deg = (middle[:, 0] + radius_deg * np.cos(angle) / np.cos(np.radians(dec_deg))) % 360.0
    order = np.argsort(to_hp29(ra_deg, dec_deg), kind="stable")
    return ra_deg[order], dec_deg[order]


def _make_objects(
    rng: np.random.Generator,
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    flux_njy: NDArray[np.float64],
) -> pa.Table:
    count = ra_deg.size
    rows = np.arange(count, dtype=np.int64)
    columns = {
        "objectId": _ids(rows),
        "tract": rows // 100_000,
        "patch": rows // 1_000 % 100,
        "coord_ra": ra_deg,
        "coord_dec": dec_deg,
        "refExtendedness": (rng.random(count) < 0.55).astype(np.float32),
        "detect_isIsolated": rng.random(count) < 0.7,
    }
    units = {"coord_ra": "deg", "coord_dec": "deg"}
    for number, band in enumerate(BANDS):
        error = (100.0 + 25.0 * number + 0.002 * flux_njy).astype(np.float32)
        flux = (flux_njy * 10 ** (0.16 * number) + rng.normal(0, 1, count) * error).astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            magnitude = (31.4 - 2.5 * np.log10(flux)).astype(np.float32)
        columns |= {
            f"{band}_psfFlux": flux,
            f"{band}_psfFluxErr": error,
            f"{band}_psfMag": magnitude,
            f"{band}_cModelFlux": (1.1 * flux).astype(np.float32),
        }
        units |= {f"{band}_{what}": "nJy" for what in ("psfFlux", "psfFluxErr", "cModelFlux")}
        units[f"{band}_psfMag"] = "mag"
    return _with_bands(from_numpy(columns, units), "refBand", np.ones(count, np.int8)).select(OBJECT_COLUMNS)


def _make_forced(
    rng: np.random.Generator,
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    flux_njy: NDArray[np.float64],
    epochs: int,
) -> pa.Table:
    count = ra_deg.size * epochs
    rows = np.repeat(np.arange(ra_deg.size, dtype=np.int64), epochs)
    epoch = np.tile(np.arange(epochs, dtype=np.int64), ra_deg.size)
    flux = flux_njy[rows].astype(np.float32)
    error = (100.0 + 0.002 * flux).astype(np.float32)
    columns = {
        "objectId": _ids(rows),
        "coord_ra": ra_deg[rows],
        "coord_dec": dec_deg[rows],
        "visit": 2_026_010_100_000 + epoch,
        "detector": np.zeros(count, np.int16),
        "psfFlux": flux + rng.standard_normal(count, np.float32) * error,
        "psfFluxErr": error,
    }
    units = {"coord_ra": "deg", "coord_dec": "deg", "psfFlux": "nJy", "psfFluxErr": "nJy"}
    bands = (epoch % len(BANDS)).astype(np.int8)
    return _with_bands(from_numpy(columns, units), "band", bands).select(FORCED_COLUMNS)


def _with_bands(table: pa.Table, name: str, band: NDArray[np.int8]) -> pa.Table:
    """Append a column of band names without making a Python string for each row."""
    return table.append_column(name, pa.DictionaryArray.from_arrays(band, list(BANDS)).cast(pa.string()))


def _ids(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return 611_000_000_000_000_000 + 4 * rows


def main() -> None:
    """Write a large release into a home folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="home folder; the release is called large")
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    (options.home / "releases").mkdir(parents=True, exist_ok=True)
    make_large_release(options.home / "releases" / "large", objects=options.objects, epochs=options.epochs)


if __name__ == "__main__":
    main()
