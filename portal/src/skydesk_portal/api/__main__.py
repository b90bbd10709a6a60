"""Start the api process: ``python -m skydesk_portal.api``."""

from __future__ import annotations

import argparse
import sys

import uvicorn

from skydesk_portal.api.app import create_app
from skydesk_portal.config import load_config
from skydesk_portal.exceptions import ConfigError
from skydesk_portal.log import configure_logging


def main() -> int:
    """Serve until the process is told to end.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m skydesk_portal.api", description="The data services.")
    parser.add_argument(
        "--port", type=int, help="listen on 127.0.0.1 at this port instead of the unix socket"
    )
    arguments = parser.parse_args()
    configure_logging("api")
    try:
        settings = load_config()
        app = create_app(settings)
    except ConfigError as error:
        sys.stderr.write(f"skydesk: {error} [{error.code}]\n")
        return 2
    listen = (
        {"host": "127.0.0.1", "port": arguments.port}
        if arguments.port
        else {"uds": str(settings.run / "api.sock")}
    )
    # Two seconds for streams that are still on their way, so that SIGTERM ends the process within three.
    uvicorn.run(app, log_config=None, access_log=False, timeout_graceful_shutdown=2, **listen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
