"""Route ``skydesk/status``: release, user and memory of this lab; no token ever leaves through it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from jupyter_server.base.handlers import APIHandler
from tornado import web

from skydesk_lab.memory import measure_tree

__all__ = ["StatusHandler", "describe_lab"]


def describe_lab(environ: Mapping[str, str]) -> dict[str, Any]:
    """Collect what the status bar shows.

    Parameters
    ----------
    environ
        The environment of the server: ``SKYDESK_RELEASE`` (name of the data release), ``JUPYTERHUB_USER``,
        ``MEM_LIMIT`` (bytes) and ``EXTERNAL_INSTANCE_URL`` are read, each may be absent.

    Returns
    -------
    dict
        ``release``, ``user``, ``memory`` (``used_bytes``: proportional set size of the server and its
        kernels; ``limit_bytes``; ``processes``), ``version``, ``portal_url``.
    """
    usage = measure_tree(os.getpid())
    limit = environ.get("MEM_LIMIT", "")
    base = environ.get("EXTERNAL_INSTANCE_URL", "").rstrip("/")
    return {
        "release": environ.get("SKYDESK_RELEASE") or None,
        "user": environ.get("JUPYTERHUB_USER") or _find_account_name(),
        "memory": {
            "used_bytes": usage.pss_bytes,
            "limit_bytes": int(limit) if limit.isdigit() and int(limit) > 0 else None,
            "processes": usage.processes,
        },
        "version": version("skydesk-lab"),
        "portal_url": f"{base}/portal/app" if base else None,
    }


def _find_account_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A bare uid without an entry in the passwd file, as inside a sandbox.
        return f"uid {os.getuid()}"


class StatusHandler(APIHandler):
    """Answers ``GET skydesk/status`` with JSON."""

    @web.authenticated
    async def get(self) -> None:
        """Answer with the release, the user and the memory in use."""
        status = await asyncio.to_thread(describe_lab, os.environ)
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(status))
