"""``python -m skydesk_hub.lab.run hub|server …``: JupyterHub or a single-user server, started faster.

jsonschema compiles a grammar for IRIs (a second of CPU time) as soon as the
optional package for it is installed; nothing here checks IRIs.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run what the first argument names with the other arguments."""
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # how Python marks a module as absent
    kind = sys.argv.pop(1)
    if kind == "hub":
        from jupyterhub.app import main as run
    else:
        from jupyterhub.singleuser import main as run
    run()


if __name__ == "__main__":
    main()
