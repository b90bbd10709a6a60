"""Compiles the kernels into the home folder's cache, so that no first image and no first query waits for it."""

from __future__ import annotations

import os
import sys
import time

from skydesk_core.home import get_home

__all__ = ["main"]


def main() -> None:
    """Compile every kernel, or find it compiled already, and say how long that took."""
    cache = os.environ.setdefault("NUMBA_CACHE_DIR", str(get_home().cache / "numba"))
    os.makedirs(cache, exist_ok=True)
    start = time.monotonic()
    # Imported here: numba reads its cache folder from the environment when it is imported.
    from skydesk_core.kernels import warm

    warm()
    sys.stdout.write(f"Kernels ready in {time.monotonic() - start:.1f} s\n")


if __name__ == "__main__":
    main()
