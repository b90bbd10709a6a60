"""What a program may tell an open page of the Portal, and what it gets back; every command passes these models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.tables import ColumnInfo

__all__ = [
    "MAX_COMMAND_BYTES",
    "MAX_POINTS",
    "MAX_SELECTED",
    "MAX_STATE",
    "PAGES",
    "Command",
    "GoCommand",
    "OverlayCommand",
    "Selection",
    "SetCommand",
    "parse_command",
]

PAGES = ("home", "images", "catalogs", "lightcurves", "jobs")
"""Pages that a command may go to."""

MAX_STATE = 2000
"""Characters of a page's state in its address at most."""

MAX_POINTS = 20_000
"""Points of one catalogue that a program draws over an image at most."""

MAX_COMMAND_BYTES = 4 << 20
"""Size of a command at most."""

MAX_SELECTED = 100_000
"""Rows of a selection that are handed out at most."""

type _Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,30}$")]
type _Text = Annotated[str, StringConstraints(max_length=MAX_STATE)]
type _Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,60}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GoCommand(_Strict):
    """Show another page or another state of the page."""

    do: Literal["go"]
    page: Literal["home", "images", "catalogs", "lightcurves", "jobs"]
    query: dict[_Key, _Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def check_length(self) -> Self:
        """Refuse a state that does not fit into an address."""
        _check_state({k: v for k, v in self.query.items() if v is not None})
        return self


class SetCommand(_Strict):
    """Change parts of the page's state; what is None is taken out."""

    do: Literal["set"]
    query: dict[_Key, _Text | None] = Field(min_length=1)

    @model_validator(mode="after")
    def check_length(self) -> Self:
        """Refuse a state that does not fit into an address."""
        _check_state({k: v for k, v in self.query.items() if v is not None})
        return self


class OverlayCommand(_Strict):
    """Draw points over the image under a name; no points take away what has the name."""

    do: Literal["overlay"]
    name: _Name
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$")] = "#ffd166"
    ra_deg: list[Annotated[float, Field(ge=-360, le=720)]] = Field(max_length=MAX_POINTS)
    dec_deg: list[Annotated[float, Field(ge=-90, le=90)]] = Field(max_length=MAX_POINTS)
    labels: list[Annotated[str, StringConstraints(max_length=60)]] = Field(
        default_factory=list, max_length=MAX_POINTS
    )

    @model_validator(mode="after")
    def check_lengths(self) -> Self:
        """Refuse lists that do not belong together."""
        if len(self.ra_deg) != len(self.dec_deg) or len(self.labels) not in (0, len(self.ra_deg)):
            raise ValueError("ra_deg, dec_deg and labels need the same number of entries")
        return self


type Command = GoCommand | SetCommand | OverlayCommand

_COMMAND: TypeAdapter[Command] = TypeAdapter(
    Annotated[GoCommand | SetCommand | OverlayCommand, Field(discriminator="do")]
)


def _check_state(query: dict[str, str]) -> None:
    if len(urlencode(query)) > MAX_STATE:
        raise ValueError(f"the state of a page has at most {MAX_STATE} characters in its address")


def parse_command(document: bytes) -> Command:
    """Read a command.

    Parameters
    ----------
    document
        JSON.

    Returns
    -------
    Command
        What to do.

    Raises
    ------
    UsageError
        If it is no command; the message names the first thing that is wrong.
    """
    try:
        return _COMMAND.validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"this is no command: {place + ': ' if place else ''}{first['msg']}") from error


@dataclass(frozen=True)
class Selection:
    """Rows that a person has selected in a page.

    Parameters
    ----------
    serial
        Grows with each selection.
    table, columns
        The rows, the first `MAX_SELECTED` of them.
    caption
        What they are, in a few words.
    total
        Number of rows that are selected.
    """

    serial: int
    table: pa.Table
    columns: tuple[ColumnInfo, ...]
    caption: str
    total: int
