"""Checking the coverage maps and the HiPS of a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from skydesk_core.release.manifest import HipsEntry
    from skydesk_core.release.opened import Release

__all__ = ["check_maps"]


def check_maps(release: Release) -> Iterator[str]:
    """Check that coverage maps and HiPS are what the manifest says.

    Parameters
    ----------
    release
        The release; one without maps has nothing to check.

    Yields
    ------
    str
        One sentence for each thing that is wrong.
    """
    for entry in release.manifest.mocs:
        moc, problem = _load_moc(release.path / entry.file)
        if moc is None:
            yield f"{entry.file}: {problem}"
        elif abs(moc.sky_fraction - entry.sky_fraction) > 1e-6 * entry.sky_fraction:
            yield f"{entry.file}: covers {moc.sky_fraction:g} of the sky, the manifest says {entry.sky_fraction:g}"
    for hips in release.manifest.hips:
        yield from _check_hips(release.path / "hips" / hips.name, hips)


def _load_moc(path: Path) -> tuple[Any, str]:
    from mocpy import MOC

    try:
        return MOC.load(str(path), format="fits"), ""
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes the reader raise is the finding
        return None, f"cannot be read: {str(error).splitlines()[0] if str(error) else repr(error)}"


def _check_hips(folder: Path, entry: HipsEntry) -> Iterator[str]:
    name = f"hips/{entry.name}"
    if not (folder / "properties").is_file():
        yield f"{name}: properties is missing"
        return
    lines = (folder / "properties").read_text(encoding="utf-8").splitlines()
    known = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    if known.get("hips_order") != str(entry.order):
        yield f"{name}: properties and manifest disagree about the order"
    found = [p for p in folder.glob("Norder*/Dir*/Npix*") if p.is_file()]
    if len(found) != entry.tiles:
        yield f"{name}: {len(found)} tiles, the manifest says {entry.tiles}"
    moc, problem = _load_moc(folder / "Moc.fits")
    if moc is None:
        yield f"{name}/Moc.fits: {problem}"
        return
    deepest = [p for p in found if p.parent.parent.name == f"Norder{entry.order}"]
    cells = np.array(sorted({int(p.stem.removeprefix("Npix")) for p in deepest}), np.int64)
    outside = np.setdiff1d(cells, moc.degrade_to_order(entry.order).flatten().astype(np.int64))
    if outside.size:
        yield f"{name}: tile {entry.order}/{outside[0]} lies outside its coverage"
