"""Create and open Butler repositories that hold skydesk's datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lsst.daf.butler import Butler, CollectionType, Config, DatasetType

from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home, ensure_home
from skydesk_core.storage import make_repo_config

__all__ = [
    "DATASET_TYPES",
    "create_repo",
    "ensure_repo",
    "get_repo_path",
    "open_repo",
    "register_chain",
    "register_dataset_types",
]

_EXPOSURE = ("instrument", "exposure", "detector")
_CALIB = ("instrument", "detector")
_FLAT = ("instrument", "detector", "physical_filter")

DATASET_TYPES: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "raw": (_EXPOSURE, "RawImage", False),
    "camera": (("instrument",), "CameraDescription", True),
    "bias": (_CALIB, "MaskedImageV2", True),
    "dark": (_CALIB, "MaskedImageV2", True),
    "flat": (_FLAT, "MaskedImageV2", True),
    "defects": (_CALIB, "ArrowAstropy", True),
    "skyMap": (("skymap",), "SkydeskSkyMap", False),
    "truth_object": (("skymap", "tract"), "ArrowAstropy", False),
    "truth_variable": (("skymap", "tract"), "ArrowAstropy", False),
    "truth_source": (("instrument",), "ArrowAstropy", False),
    "truth_dia": (("instrument",), "ArrowAstropy", False),
    "truth_orbit": (("instrument",), "ArrowAstropy", False),
    "mpc_orbits": ((), "ArrowAstropy", False),
}
"""Dataset types that are not made by a pipeline: dimensions, storage class, whether they are calibrations."""


def get_repo_path(where: Home | Path | str) -> Path:
    """Return the folder of a repository.

    Parameters
    ----------
    where
        A home, whose working repository is meant, or the repository itself.
    """
    return where.butler if isinstance(where, Home) else Path(where)


def create_repo(path: Path | str) -> None:
    """Create an empty repository with skydesk's storage classes and base dataset types.

    Parameters
    ----------
    path
        Folder; it is created, and must not hold a repository.

    Raises
    ------
    UsageError
        If a repository exists there.
    """
    root = Path(path)
    if (root / "butler.yaml").exists():
        raise UsageError(f"{root} already holds a Butler repository")
    root.mkdir(parents=True, exist_ok=True)
    Butler.makeRepo(str(root), config=Config(make_repo_config()))
    with Butler.from_config(str(root), writeable=True) as butler:
        register_dataset_types(butler, DATASET_TYPES)


def open_repo(
    where: Home | Path | str,
    *,
    writeable: bool = False,
    collections: str | Iterable[str] | None = None,
    run: str | None = None,
) -> Butler:
    """Open a repository.

    Parameters
    ----------
    where
        A home, whose working repository is meant, or the repository itself.
    writeable
        Whether datasets may be put.
    collections
        Default collections to search.
    run
        Default RUN collection to write to.

    Returns
    -------
    lsst.daf.butler.Butler
        The Butler; the caller closes it.

    Raises
    ------
    NotFoundError
        If there is no repository.
    """
    path = get_repo_path(where)
    if not (path / "butler.yaml").exists():
        raise NotFoundError(f"no Butler repository in {path}")
    return Butler.from_config(str(path), writeable=writeable, collections=collections, run=run)


def ensure_repo(home: Home) -> Butler:
    """Open the home's working repository for writing; create it if need be.

    Raises
    ------
    DataError
        If the folder exists, is not empty and holds no repository.
    """
    ensure_home(home)
    if not (home.butler / "butler.yaml").exists():
        if home.butler.exists() and any(os.scandir(home.butler)):
            raise DataError(f"{home.butler} is not empty and holds no butler.yaml")
        create_repo(home.butler)
    return open_repo(home, writeable=True)


def register_dataset_types(butler: Butler, names: Iterable[str]) -> None:
    """Register dataset types of `DATASET_TYPES` by name.

    Raises
    ------
    UsageError
        If a name is not in `DATASET_TYPES`.
    """
    for name in names:
        if name not in DATASET_TYPES:
            raise UsageError(f"unknown dataset type {name}")
        dimensions, storage_class, is_calibration = DATASET_TYPES[name]
        butler.registry.registerDatasetType(
            DatasetType(
                name, dimensions, storage_class, universe=butler.dimensions, isCalibration=is_calibration
            )
        )


def register_chain(butler: Butler, chain: str, children: Iterable[str]) -> None:
    """Put collections at the front of a chain; the chain is made if need be.

    Children that are already members keep their place.

    Parameters
    ----------
    butler
        A writeable Butler.
    chain
        Name of the CHAINED collection.
    children
        Existing collections.
    """
    butler.collections.register(chain, CollectionType.CHAINED)
    members = list(butler.collections.get_info(chain).children)
    new = [c for c in children if c not in members]
    if new:
        butler.collections.redefine_chain(chain, [*new, *members])
