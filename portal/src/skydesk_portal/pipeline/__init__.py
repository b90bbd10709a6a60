"""The only door to ``skydesk_core``; its errors leave here as the portal's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skydesk_core.home import get_home
    from skydesk_core.release import (
        Pyramid,
        Release,
        build_dataset_pyramid,
        build_pyramid,
        get_release,
        list_releases,
    )

__all__ = [
    "Pyramid",
    "Release",
    "build_dataset_pyramid",
    "build_pyramid",
    "get_home",
    "get_release",
    "list_releases",
]


def __getattr__(name: str) -> Any:
    # Lazy: the middleware behind these takes seconds to import and many processes never need it.
    if name in __all__:
        if name == "get_home":
            from skydesk_core.home import get_home as found

            return found
        import skydesk_core.release

        return getattr(skydesk_core.release, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
