"""Images that people's own runs made: a table of them for their owner, their files and inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.models.user_tables import schema_of
from skydesk_portal.pipeline.imagefile import ImageHandle, ImageSubject
from skydesk_portal.pipeline.userimages import describe_obscore, list_output_images
from skydesk_portal.services.sharing import OWN_PREFIX
from skydesk_portal.storage.files import HomeFolder
from skydesk_portal.storage.userimages import UserImageStore

__all__ = ["TABLE", "UserImage", "UserImageService", "owner_of_label"]

TABLE = "ObsCore"
"""Name of the table in the schema of its owner."""

_PRIVATE = ("path", "inputs", "storage_class", "data_id")


def owner_of_label(label: str) -> str | None:
    """Return whose repository a label names, `None` for one of a release."""
    return label.removeprefix(OWN_PREFIX) if label.startswith(OWN_PREFIX) else None


@dataclass(frozen=True)
class UserImage:
    """One image of somebody's own.

    Parameters
    ----------
    id
        Its identifier.
    dataset_type
        Its dataset type.
    path
        Its file in the repository.
    inputs
        Publisher identifier, dataset type and role of what it was made of.
    row
        What ObsCore says about it.
    """

    id: DatasetId
    dataset_type: str
    path: str
    inputs: tuple[tuple[str, str, str], ...]
    row: Mapping[str, Any] = field(hash=False)

    @property
    def subject(self) -> ImageSubject:
        """What cut-outs say about it.

        Raises
        ------
        UsageError
            If it was listed before cut-outs of own images were made.
        """
        if not self.row.get("storage_class"):
            raise UsageError(
                f"the run that made this {self.dataset_type} is too old: run it again for cut-outs"
            )
        span = (self.row["t_min"], self.row["t_max"])
        return ImageSubject(
            self.id.uuid,
            self.dataset_type,
            self.row["storage_class"],
            json.loads(self.row["data_id"]),
            self.id.release,
            None if None in span else span,
        )


class UserImageService:
    """Knows the images of people's own runs.

    Parameters
    ----------
    store
        Their lists.
    users
        The folder with one folder per user.
    url
        Public base address.
    """

    def __init__(self, store: UserImageStore, users: Path, url: str) -> None:
        self._store = store
        self._users = users
        self._url = url

    def refresh(self, owner: str, repo: Path, output: str) -> int:
        """Write the list of the images that a run made.

        Parameters
        ----------
        owner
            Whose run it was.
        repo
            The repository.
        output
            Its output collection, ``u/NAME/…``.

        Returns
        -------
        int
            Number of images.
        """
        label = OWN_PREFIX + owner
        collection = f"{label}/{output.removeprefix(f'u/{owner}/')}"
        rows = list_output_images(repo, output, label, collection)
        self._store.write(owner, output, rows)
        return int(rows.num_rows)

    def find_stamp(self, owner: str) -> object:
        """Return what changes whenever the images of a person change."""
        return self._store.find_stamp(owner)

    def find_table(self, owner: str) -> tuple[TableInfo, pa.Table] | None:
        """Return the table of a person's images and its rows, `None` if there are none."""
        rows = self._store.find_rows(owner)
        if rows is None:
            return None
        rows = rows.drop_columns([name for name in _PRIVATE if name in rows.column_names])
        place = rows.schema.get_field_index("access_url")
        urls = pc.binary_join_element_wise(pa.scalar(self._url), rows["access_url"], "")
        rows = rows.set_column(place, "access_url", urls)
        # The name changes with the rows: what was answered before is not taken for an answer about them.
        token = hashlib.sha256(f"{owner} {self._store.find_stamp(owner)}".encode()).hexdigest()[:16]
        info = TableInfo(
            schema_of(owner),
            TABLE,
            tuple(column for column in describe_obscore() if column.name in rows.column_names),
            (f"images_{token}",),
            description="Images that your own runs made (ObsCore 1.1)",
            rows=rows.num_rows,
        )
        return info, rows.select([column.name for column in info.columns])

    def get(self, owner: str, dataset: DatasetId) -> UserImage:
        """Return one image.

        Raises
        ------
        NotFoundError
            If the person has no such image.
        """
        rows = self._store.find_rows(owner)
        if rows is not None and dataset.release == OWN_PREFIX + owner:
            chosen = rows.filter(pc.equal(rows["dataset_id"], str(dataset.uuid))).to_pylist()
            if chosen and chosen[0]["path"]:
                row = chosen[0]
                inputs = tuple((did, kind, role) for did, kind, role in json.loads(row["inputs"]))
                return UserImage(dataset, row["dataset_type"], row["path"], inputs, row)
        raise NotFoundError(f"there is no image {dataset.text[:100]!r}")

    def open_file(self, owner: str, dataset: DatasetId) -> tuple[BinaryIO, int, str]:
        """Open the file of an image; no link leads out of the repository.

        Parameters
        ----------
        owner
            Whose it is.
        dataset
            The image.

        Returns
        -------
        stream, size_bytes, name
            The open file.

        Raises
        ------
        NotFoundError
            If there is no such image, or its file was removed.
        """
        image = self.get(owner, dataset)
        root = self._users / owner / "butler"
        if not root.is_dir():
            raise NotFoundError(f"{OWN_PREFIX}{owner} has no repository")
        stream, facts = HomeFolder(root, str(root)).open(PurePosixPath(image.path).parts)
        return stream, facts.size_bytes, PurePosixPath(image.path).name

    def open_image(self, identity: Identity, dataset: DatasetId) -> ImageHandle:
        """Open an image of the caller's own for cut-outs, through the file that was checked.

        Raises
        ------
        NotFoundError
            If the caller has no such image, or its file was removed.
        UsageError
            If it has no sky coordinates.
        """
        subject = self.get(identity.name, dataset).subject
        stream, _, _ = self.open_file(identity.name, dataset)
        return ImageHandle(subject, stream)
