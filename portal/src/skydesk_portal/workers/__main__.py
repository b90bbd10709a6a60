"""Start a worker process: ``python -m skydesk_portal.workers --name worker-1``."""

from __future__ import annotations

import argparse
import os
import sys

from skydesk_portal.config import load_config
from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import configure_logging
from skydesk_portal.workers.process import run_worker


def main() -> int:
    """Do jobs until the process is told to end.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skydesk_portal.workers", description="A worker for jobs."
    )
    parser.add_argument("--name", default="worker-1", help="name of the worker, unique on the platform")
    arguments = parser.parse_args()
    configure_logging(arguments.name)
    try:
        run_worker(arguments.name, load_config())
    except PortalError as error:
        sys.stderr.write(f"skydesk: {error} [{error.code}]\n")
        return 2
    sys.stdout.flush()
    # Threads of a job that does not end in time must not hold the process.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
