"""What the core knows of the images in a person's own repository."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.pipeline.errors import core_errors
from skydesk_portal.pipeline.releases import describe_column

__all__ = ["describe_obscore", "list_output_images"]


def describe_obscore() -> tuple[ColumnInfo, ...]:
    """Describe the columns of an image list."""
    from skydesk_core.release.obscore_columns import load_obscore

    return tuple(describe_column(column) for column in load_obscore().columns)


def list_output_images(repo: Path, output: str, label: str, collection: str) -> pa.Table:
    """List the images of an output collection.

    Parameters
    ----------
    repo
        The repository.
    output
        Its CHAINED collection; the first RUN in it that begins with its name is meant.
    label
        Label of the repository.
    collection
        Name for ``obs_collection``.

    Returns
    -------
    pyarrow.Table
        See `skydesk_core.release.runimages.list_run_images`.

    Raises
    ------
    PortalError
        If the repository cannot be read.
    """
    from skydesk_core.release.runimages import list_run_images
    from skydesk_core.repo import open_repo

    with core_errors(), open_repo(repo) as butler:
        children = butler.collections.get_info(output).children
        run = next(name for name in children if name.startswith(f"{output}/"))
        return list_run_images(butler, repo, run, label, collection)
