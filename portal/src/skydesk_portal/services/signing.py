"""Links that work without a token for a short time."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

__all__ = ["LinkSigner"]


class LinkSigner:
    """Signs and checks links with a key that all processes of a home share.

    Parameters
    ----------
    key_file
        File of the key; made with a fresh key, readable by its owner only.
    """

    def __init__(self, key_file: Path) -> None:
        key_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "wb") as out:
                out.write(secrets.token_bytes(32))
        self._file = key_file
        self._key = b""

    def _digest(self, what: str, expires: int) -> str:
        if len(self._key) < 32:
            # Another process may have made the file an instant ago and not yet filled it.
            for _ in range(50):
                self._key = self._file.read_bytes()
                if len(self._key) >= 32:
                    break
                time.sleep(0.01)
        return hmac.new(self._key, f"{what}|{expires}".encode(), hashlib.sha256).hexdigest()

    def sign(self, what: str, seconds: float) -> str:
        """Return the query string that lets whoever has it fetch something.

        Parameters
        ----------
        what
            What may be fetched.
        seconds
            For how long.

        Returns
        -------
        str
            ``e=…&s=…``.
        """
        expires = int(time.time() + seconds)
        return f"e={expires}&s={self._digest(what, expires)}"

    def check(self, what: str, expires: int, signature: str) -> bool:
        """Tell whether a signature is ours, fits and has not expired."""
        return (
            hmac.compare_digest(self._digest(what, expires).encode(), signature.encode())
            and expires >= time.time()
        )
