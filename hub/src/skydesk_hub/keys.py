"""Keys and tokens of the platform, made once and kept in one file that only its account may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from skydesk_hub.errors import HomeError

__all__ = ["Keys", "load_keys"]


@dataclass(frozen=True)
class Keys:
    """Every key and token that outlives a process."""

    proxy_token: str
    """Token of the proxy's private API."""
    cookie_secret: str
    """JupyterHub's cookie secret, 32 bytes as hex."""
    crypt_key: str
    """JupyterHub's key for stored sign-in state, 32 bytes as base64."""
    ops_token: str
    """Hub token of the supervisor."""
    identity_token: str
    """Hub token of the identity service."""
    portal_token: str
    """Hub token and OAuth client secret of the portal."""
    oidc_secret: str
    """Client secret of the hub at the identity provider."""


def make_keys() -> Keys:
    """Return new random keys."""
    return Keys(
        proxy_token=secrets.token_hex(32),
        cookie_secret=secrets.token_hex(32),
        crypt_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        ops_token=secrets.token_hex(32),
        identity_token=secrets.token_hex(32),
        portal_token=secrets.token_hex(32),
        oidc_secret=secrets.token_hex(32),
    )


def load_keys(path: Path) -> Keys:
    """Read the platform's keys; make them when the file does not exist.

    Parameters
    ----------
    path
        The file, kept at mode 0600.

    Returns
    -------
    Keys
        The keys.

    Raises
    ------
    HomeError
        When the file is damaged or readable by others.
    """
    if not path.exists():
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(make_keys()), file, indent=1)
        path.with_suffix(".new").rename(path)
    if path.stat().st_mode & 0o077:
        raise HomeError(f"{path}: readable by other accounts; run `chmod 600 {path}`")
    try:
        return Keys(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise HomeError(
            f"{path}: damaged key file; remove it to make new keys (everybody signs in again)"
        ) from error
