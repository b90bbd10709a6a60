"""``python -m skydesk_hub.identity``: serve the identity service on its unix socket."""

from __future__ import annotations

import uvicorn

from skydesk_hub.identity.app import make_app
from skydesk_hub.supervisor.table import Platform

if __name__ == "__main__":
    known = Platform.from_environment()
    uvicorn.run(
        make_app(known),
        uds=str(known.layout.socket("identity")),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=3600,  # the proxy reuses connections; one closed under it is a 503
    )
