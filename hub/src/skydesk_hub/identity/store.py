"""Users, sessions, one-time links and codes of the identity provider, in one SQLite file.

Secrets that are shown to somebody once (sessions, links, codes, access tokens)
are stored as SHA-256 only; passwords as argon2id.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from skydesk_hub.errors import UserError

__all__ = ["BUILT_IN", "Store", "User"]

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
SHORTEST_PASSWORD = 8
ONCE_LIFE_S = 3 * 24 * 3600
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password TEXT, admin INTEGER NOT NULL, disabled INTEGER NOT NULL,
    created REAL NOT NULL, memory_mib INTEGER);
CREATE TABLE IF NOT EXISTS secrets (kind TEXT NOT NULL, hash TEXT NOT NULL, name TEXT NOT NULL, expires REAL NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (kind, hash));
CREATE INDEX IF NOT EXISTS secrets_by_name ON secrets (name);
CREATE TABLE IF NOT EXISTS quotas (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS groups (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (group_id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (group_id, name));
"""
BUILT_IN = ("users", "admins")
"""Groups that nobody is put into: everybody, and whoever administers the platform."""
HASHER = PasswordHasher()
# Checked when a name is unknown, so that the answer takes as long as for a known one.
UNKNOWN_HASH = HASHER.hash(secrets.token_hex(16))


@dataclass(frozen=True)
class User:
    """A person who may sign in.

    Parameters
    ----------
    name
        The user name.
    admin
        Whether the person administers the platform.
    disabled
        Whether sign-in is refused.
    has_password
        Whether a password is set.
    created
        Unix time in seconds.
    memory_mib
        Memory of the person's lab, None for the platform's setting.
    teams
        Groups that an administrator put the person into, sorted.
    """

    name: str
    admin: bool
    disabled: bool
    has_password: bool
    created: float
    memory_mib: int | None
    teams: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """All groups of the person: those that everybody of a kind is in, and the teams."""
        return [*BUILT_IN[: 2 if self.admin else 1], *self.teams]

    def describe(self) -> dict[str, object]:
        """Return what lists show."""
        return {
            "name": self.name,
            "admin": self.admin,
            "disabled": self.disabled,
            "has_password": self.has_password,
            "memory_mib": self.memory_mib,
            "groups": list(self.teams),
        }


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret as hex.

    Parameters
    ----------
    secret
        The secret.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


class Store:
    """The identity provider's state.

    Parameters
    ----------
    path
        The SQLite file, made with mode 0600 when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.touch(mode=0o600)
        with self.connect() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(SCHEMA)

    @staticmethod
    def is_name(name: str) -> bool:
        """Say whether a text can be a user name.

        Parameters
        ----------
        name
            The text.
        """
        return bool(NAME.fullmatch(name))

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Open one transaction."""
        db = sqlite3.connect(self.path, timeout=5)
        try:
            with db:
                yield db
        finally:
            db.close()

    def find_user(self, name: str) -> User | None:
        """Return a user, or None when there is none of that name.

        Parameters
        ----------
        name
            The user name.
        """
        with self.connect() as db:
            row = db.execute(
                "SELECT name, admin, disabled, password IS NOT NULL, created, memory_mib FROM users WHERE name = ?",
                (name,),
            ).fetchone()
            teams = db.execute(
                "SELECT g.name FROM groups g JOIN members m ON m.group_id = g.id WHERE m.name = ? ORDER BY g.name",
                (name,),
            ).fetchall()
        if row is None:
            return None
        return User(
            row[0], bool(row[1]), bool(row[2]), bool(row[3]), row[4], row[5], tuple(t[0] for t in teams)
        )

    def get_user(self, name: str) -> User:
        """Return a user.

        Parameters
        ----------
        name
            The user name.

        Raises
        ------
        UserError
            When there is none of that name.
        """
        if user := self.find_user(name):
            return user
        raise UserError(f"no user {name!r}")

    def list_users(self) -> list[User]:
        """Return all users by name."""
        with self.connect() as db:
            names = [row[0] for row in db.execute("SELECT name FROM users ORDER BY name")]
        return [self.get_user(name) for name in names]

    def add_user(
        self, name: str, *, admin: bool = False, password: str | None = None, only: str | None = None
    ) -> None:
        """Make a user.

        Parameters
        ----------
        name
            The user name.
        admin
            Whether the person administers the platform.
        password
            The password; None when a one-time link sets it.
        only
            The one local person, when the platform serves no other.

        Raises
        ------
        UserError
            When the name or password cannot be used, the name is taken, or
            the platform serves one person only.
        """
        if not self.is_name(name):
            raise UserError(f"user name {name!r}: a lower case letter, then at most 30 of a-z 0-9 -")
        if only is not None and (name != only or self.list_users()):
            raise UserError(
                f"this platform serves one local person only ({only}): labs cannot be isolated (skydesk doctor)"
            )
        if self.find_user(name):
            raise UserError(f"user {name!r} exists already")
        secret = None if password is None else self.hash_password(password)
        with self.connect() as db:
            db.execute(
                "INSERT INTO users VALUES (?, ?, ?, 0, ?, NULL)", (name, secret, int(admin), time.time())
            )

    def ensure_first_user(self, name: str) -> list[str]:
        """Make the first administrator when there is no user, and list who still needs a password.

        Parameters
        ----------
        name
            Name of the first administrator.

        Returns
        -------
        list of str
            Administrators without a password.
        """
        if not self.list_users():
            self.add_user(name, admin=True)
        return [
            user.name
            for user in self.list_users()
            if user.admin and not user.has_password and not user.disabled
        ]

    def hash_password(self, password: str) -> str:
        """Return the argon2id hash of a new password.

        Parameters
        ----------
        password
            The password.

        Raises
        ------
        UserError
            When it is too short or too long.
        """
        if not SHORTEST_PASSWORD <= len(password) <= 1024:
            raise UserError(f"a password has at least {SHORTEST_PASSWORD} characters")
        return HASHER.hash(password)

    def set_password(self, name: str, password: str) -> None:
        """Set a password and end the user's sessions.

        Parameters
        ----------
        name, password
            Whose and which.
        """
        secret = self.hash_password(password)
        with self.connect() as db:
            db.execute("UPDATE users SET password = ? WHERE name = ?", (secret, name))
            db.execute("DELETE FROM secrets WHERE name = ? AND kind = 'session'", (name,))

    def check_password(self, name: str, password: str) -> User | None:
        """Return the user when the password is right and sign-in is allowed.

        Parameters
        ----------
        name, password
            As typed.
        """
        with self.connect() as db:
            row = db.execute("SELECT password FROM users WHERE name = ? AND disabled = 0", (name,)).fetchone()
        secret = row[0] if row and row[0] else None
        try:
            HASHER.verify(secret or UNKNOWN_HASH, password)
        except (VerificationError, InvalidHashError):
            return None
        return self.find_user(name) if secret else None

    def disable_user(self, name: str) -> None:
        """Refuse a user's sign-in and end sessions, links and codes.

        Parameters
        ----------
        name
            The user name.
        """
        self.get_user(name)
        with self.connect() as db:
            db.execute("UPDATE users SET disabled = 1 WHERE name = ?", (name,))
            db.execute("DELETE FROM secrets WHERE name = ?", (name,))

    def set_quota(self, name: str, memory_mib: int | None) -> None:
        """Set the memory of a user's lab.

        Parameters
        ----------
        name
            The user name.
        memory_mib
            Memory in MiB; None for the platform's setting.
        """
        self.get_user(name)
        with self.connect() as db:
            db.execute("UPDATE users SET memory_mib = ? WHERE name = ?", (memory_mib, name))

    def set_service_quota(self, name: str, document: dict[str, Any] | None) -> None:
        """Set what a user may use of the data services.

        Parameters
        ----------
        name
            The user name.
        document
            Figures as user-info tells them; None for the platform's settings.
        """
        self.get_user(name)
        with self.connect() as db:
            db.execute("DELETE FROM quotas WHERE name = ?", (name,))
            if document:
                db.execute("INSERT INTO quotas VALUES (?, ?)", (name, json.dumps(document)))

    def get_service_quota(self, name: str) -> dict[str, Any]:
        """Return what a user alone may use of the data services, empty for the platform's settings.

        Parameters
        ----------
        name
            The user name.
        """
        with self.connect() as db:
            row = db.execute("SELECT document FROM quotas WHERE name = ?", (name,)).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def make_secret(self, kind: str, name: str, life_s: float, **data: Any) -> str:
        """Make a secret that stands for a user for a while.

        Parameters
        ----------
        kind
            ``session``, ``once``, ``code`` or ``access``.
        name
            The user.
        life_s
            How long it counts, in seconds.
        **data
            What it carries.

        Returns
        -------
        str
            The secret; only its hash is kept.
        """
        secret = secrets.token_urlsafe(32)
        self.keep_secret(kind, secret, name, life_s, **data)
        return secret

    def keep_secret(self, kind: str, secret: str, name: str, life_s: float, **data: Any) -> None:
        """Keep the hash of a secret made elsewhere.

        Parameters
        ----------
        kind, secret, name, life_s, **data
            As for `make_secret`.
        """
        now = time.time()
        with self.connect() as db:
            db.execute("DELETE FROM secrets WHERE expires < ?", (now,))
            db.execute(
                "INSERT INTO secrets VALUES (?, ?, ?, ?, ?)",
                (kind, digest(secret), name, now + life_s, json.dumps(data)),
            )

    def find_secret(
        self, kind: str, secret: str, *, take: bool = False
    ) -> tuple[User, dict[str, Any]] | None:
        """Return whom a secret stands for and what it carries.

        Parameters
        ----------
        kind, secret
            Which one.
        take
            Whether it is used up by this.
        """
        key = (kind, digest(secret))
        with self.connect() as db:
            row = db.execute(
                "SELECT name, data, expires FROM secrets WHERE kind = ? AND hash = ?", key
            ).fetchone()
            if (
                row
                and take
                and db.execute("DELETE FROM secrets WHERE kind = ? AND hash = ?", key).rowcount != 1
            ):
                return None
        if not row or row[2] < time.time():
            return None
        user = self.find_user(row[0])
        return (user, json.loads(row[1])) if user and not user.disabled else None

    def drop_secret(self, kind: str, secret: str) -> None:
        """Forget a secret.

        Parameters
        ----------
        kind, secret
            Which one.
        """
        with self.connect() as db:
            db.execute("DELETE FROM secrets WHERE kind = ? AND hash = ?", (kind, digest(secret)))

    def make_once(self, name: str) -> str:
        """Make a one-time link's token; earlier ones of the user end.

        Parameters
        ----------
        name
            The user.
        """
        with self.connect() as db:
            db.execute("DELETE FROM secrets WHERE kind = 'once' AND name = ?", (name,))
        return self.make_secret("once", name, ONCE_LIFE_S)

    def get_setting(self, key: str, make: str) -> str:
        """Return a stored setting; keep the given value when there is none.

        Parameters
        ----------
        key
            Its name.
        make
            The value to keep.
        """
        with self.connect() as db:
            db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key, make))
            return str(db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()[0])
