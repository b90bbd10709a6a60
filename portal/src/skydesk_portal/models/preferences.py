"""What a person prefers on the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from skydesk_portal.exceptions import UsageError

__all__ = ["COORDINATES", "TEXT_PERCENT", "THEMES", "Preferences", "change_preferences"]

THEMES = ("", "light", "dark")
"""Themes; empty follows the browser."""

TEXT_PERCENT = (100, 125, 150, 200)
"""Sizes of text in per cent of the usual one."""

COORDINATES = ("degrees", "sexagesimal")
"""Ways to write positions."""

_MOST_FILTERS = 50
_LONGEST_NAME = 60
_LONGEST_FILTER = 2000
_RELEASE = re.compile(r"[\w.-]{0,64}\Z")


@dataclass(frozen=True)
class Preferences:
    """What a person prefers; the defaults hold for somebody who has said nothing.

    Parameters
    ----------
    theme
        One of `THEMES`.
    text_percent
        One of `TEXT_PERCENT`.
    release
        Name of the release that pages begin with; empty takes the newest.
    coordinates
        One of `COORDINATES`.
    alert_filters
        Own conditions on alerts, by name.
    """

    theme: str = ""
    text_percent: int = 100
    release: str = ""
    coordinates: str = "degrees"
    alert_filters: Mapping[str, str] = field(default_factory=dict)


def _check_filters(filters: Mapping[str, str]) -> dict[str, str]:
    if len(filters) > _MOST_FILTERS:
        raise UsageError(f"at most {_MOST_FILTERS} filters are kept")
    for name, condition in filters.items():
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise UsageError(f"the name of a filter has 1 to {_LONGEST_NAME} printable characters")
        if not condition.strip() or len(condition) > _LONGEST_FILTER:
            raise UsageError(f"a filter has 1 to {_LONGEST_FILTER} characters")
    return dict(filters)


def change_preferences(old: Preferences, changes: Mapping[str, Any]) -> Preferences:
    """Return preferences with some of them changed.

    Parameters
    ----------
    old
        Those before.
    changes
        New values by name.

    Raises
    ------
    UsageError
        If there is no such preference, or a value is none of it.
    """
    known = {f.name: getattr(old, f.name) for f in fields(Preferences)}
    if unknown := sorted(changes.keys() - known.keys()):
        raise UsageError(f"there is no preference {unknown[0][:40]!r}; there are {', '.join(known)}")
    known.update(changes)
    allowed: dict[str, tuple[Any, ...]] = {
        "theme": THEMES,
        "text_percent": TEXT_PERCENT,
        "coordinates": COORDINATES,
    }
    for name, values in allowed.items():
        if known[name] not in values or isinstance(known[name], bool):
            raise UsageError(f"{name} is one of {', '.join(repr(v) for v in values)}")
    if not isinstance(known["release"], str) or not _RELEASE.match(known["release"]):
        raise UsageError("release is the name of a release")
    if not isinstance(known["alert_filters"], Mapping):
        raise UsageError("alert_filters are conditions by name")
    known["alert_filters"] = _check_filters(known["alert_filters"])
    return Preferences(**known)
