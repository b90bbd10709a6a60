"""Names of published images and what can be asked of them."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from skydesk_portal.exceptions import UsageError

__all__ = ["DatasetFacts", "DatasetId", "parse_dataset_id", "split_identifier"]


@dataclass(frozen=True)
class DatasetId:
    """One dataset of a release."""

    release: str
    uuid: uuid.UUID

    @property
    def text(self) -> str:
        """The identifier as ObsCore and DataLink publish it."""
        return f"ivo://skydesk/{self.release}?repo={self.release}&id={self.uuid}"


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset without opening it."""

    id: DatasetId
    dataset_type: str
    storage_class: str
    data_id: dict[str, str | int]
    path: str
    size: int


def split_identifier(text: str) -> SplitResult:
    """Take an identifier apart as a URI.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        return urlsplit(text.strip())
    except ValueError as error:
        raise UsageError(f"ID {text[:100]!r} is not an identifier: {error}") from error


def parse_dataset_id(text: str) -> DatasetId:
    """Read an identifier of a dataset.

    Parameters
    ----------
    text
        ``ivo://skydesk/RELEASE?repo=RELEASE&id=UUID`` or ``butler://RELEASE/UUID``.

    Returns
    -------
    DatasetId
        Release and dataset.

    Raises
    ------
    UsageError
        If the text is no such identifier.
    """
    parts = split_identifier(text)
    query = parse_qs(parts.query)
    release, given = "", ""
    if parts.scheme == "ivo":
        release, given = (query.get("repo") or [""])[0], (query.get("id") or [""])[0]
    elif parts.scheme == "butler":
        release, given = parts.netloc, parts.path.strip("/")
    try:
        found = uuid.UUID(given)
    except ValueError:
        found = None
    if found is None or not re.fullmatch(r"[\w.-]{1,64}", release):
        raise UsageError(
            f"ID {text[:100]!r} is not an identifier such as ivo://skydesk/RELEASE?repo=RELEASE&id=UUID"
        )
    return DatasetId(release, found)
