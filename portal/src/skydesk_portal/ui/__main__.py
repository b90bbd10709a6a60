"""The process ``portal``: the Portal's pages on ``run/portal.sock``."""

from __future__ import annotations

import argparse
import os
import sys
import threading

import uvicorn

from skydesk_portal.config import load_config
from skydesk_portal.exceptions import PortalError
from skydesk_portal.factory import create_factory
from skydesk_portal.log import configure_logging
from skydesk_portal.pipeline.pixels import load_middleware
from skydesk_portal.services import brushing
from skydesk_portal.ui.app import create_app
from skydesk_portal.ui.gate import OAuthSettings
from skydesk_portal.ui.services import create_services

__all__ = ["main"]

_STOP_S = 2
_WARM_AFTER_S = 20.0


def _warm() -> None:
    """Compile kernels and import the middleware before somebody waits for them, but after the platform has started."""
    brushing.warm()
    load_middleware()


def main(arguments: list[str] | None = None) -> int:
    """Serve the pages until told to stop.

    Parameters
    ----------
    arguments
        Command line; by default the process's own.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m skydesk_portal.ui", description=__doc__)
    parser.add_argument(
        "--port", type=int, help="listen on 127.0.0.1 at this port instead of run/portal.sock"
    )
    options = parser.parse_args(arguments)
    configure_logging("portal")
    try:
        settings = load_config()
        factory = create_factory(settings)
        identities = factory.create_identity_client()
    except PortalError as error:
        print(f"portal: {error} [{error.code}]", file=sys.stderr)  # noqa: T201 - the supervisor shows this line
        return 1
    client_id, secret = (
        os.environ.get("SKYDESK_OAUTH_CLIENT_ID"),
        os.environ.get("SKYDESK_OAUTH_CLIENT_SECRET"),
    )
    oauth = None
    if client_id and secret and settings.hub_api:
        oauth = OAuthSettings(client_id, secret, settings.url, settings.hub_api)
    services = create_services(factory)
    factory.warm()
    warming = threading.Timer(_WARM_AFTER_S, _warm)
    warming.daemon = True
    warming.start()
    listen = (
        {"host": "127.0.0.1", "port": options.port}
        if options.port
        else {"uds": str(settings.run / "portal.sock")}
    )
    try:
        uvicorn.run(
            create_app(services, identities, oauth, settings.url),
            log_config=None,
            access_log=False,
            proxy_headers=True,
            forwarded_allow_ips="*",
            timeout_graceful_shutdown=_STOP_S,
            ws_ping_interval=20,
            # A network that is away for half a minute does not end a connection that survives it.
            ws_ping_timeout=45,
            **listen,
        )
    finally:
        factory.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
