"""Routes of the public proxy: it keeps them in memory only, so they are added after each of its starts."""

from __future__ import annotations

from skydesk_hub.errors import ServiceError
from skydesk_hub.supervisor.table import ROUTES, Platform
from skydesk_hub.wire import request

__all__ = ["add_routes", "ask_hub_for_routes"]


async def add_routes(platform: Platform) -> None:
    """Tell the proxy where our services listen.

    Parameters
    ----------
    platform
        What is known.

    Raises
    ------
    ServiceError
        When the proxy refuses a route.
    """
    for path, name in ROUTES.items():
        answer = await request(
            platform.layout.socket("proxy"),
            "POST",
            f"/api/routes{path}",
            token=platform.keys.proxy_token,
            data={"target": platform.socket_url(name)},
        )
        if answer.status != 201:
            raise ServiceError(f"the proxy refused the route {path} ({answer.status})")


async def ask_hub_for_routes(platform: Platform) -> None:
    """Let the hub add its own routes and those of running labs at once.

    Parameters
    ----------
    platform
        What is known.
    """
    await request(
        platform.layout.socket("hub"),
        "POST",
        "/nb/hub/api/proxy",
        token=platform.keys.ops_token,
        timeout_s=20,
    )
