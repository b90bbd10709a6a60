"""The supervisor's private socket: one JSON line in, one JSON line out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skydesk_hub.accounts import end_rights, make_token
from skydesk_hub.epoch import bump_epoch
from skydesk_hub.errors import HubError, ServiceError
from skydesk_hub.identity.groups import GroupStore
from skydesk_hub.identity.store import Store

if TYPE_CHECKING:
    from skydesk_hub.supervisor.core import Supervisor

__all__ = ["serve_control"]

Operation = Callable[["Supervisor", dict[str, Any]], Awaitable[object]]


async def answer_status(supervisor: Supervisor, _: dict[str, Any]) -> object:
    """Return the status of the platform."""
    return supervisor.describe()


async def answer_stop(supervisor: Supervisor, _: dict[str, Any]) -> object:
    """Begin to stop; the answer comes before the end."""
    supervisor.stop_wanted.set()
    return {"pid": supervisor.describe()["pid"]}


async def answer_token(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Make a token for a user at the hub."""
    store = Store(supervisor.platform.layout.identity_db)
    return await make_token(
        supervisor.platform,
        store,
        str(wish["user"]),
        list(wish["scopes"]),
        wish.get("expires_in_s"),
        wish.get("note"),
    )


async def answer_user_add(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Make a user; without a password the answer has a one-time link."""
    platform = supervisor.platform
    store = Store(platform.layout.identity_db)
    store.add_user(wish["name"], admin=wish["admin"], password=wish["password"], only=platform.single_user)
    return None if wish["password"] else f"{platform.url}/auth/once/{store.make_once(wish['name'])}"


async def answer_user_list(supervisor: Supervisor, _: dict[str, Any]) -> object:
    """List the users."""
    return [user.describe() for user in Store(supervisor.platform.layout.identity_db).list_users()]


async def answer_user_disable(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Disable a user: no sign-in, no session, no token, no lab from now on."""
    Store(supervisor.platform.layout.identity_db).disable_user(wish["name"])
    await end_rights(supervisor.platform, wish["name"])
    return None


async def answer_user_quota(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Set a user's quota, or only tell it."""
    store = Store(supervisor.platform.layout.identity_db)
    if "memory_mib" in wish:
        store.set_quota(wish["name"], wish["memory_mib"])
    if "services" in wish:
        store.set_service_quota(wish["name"], wish["services"])
    memory_mib = store.get_user(wish["name"]).memory_mib
    return {"memory_mib": memory_mib, "services": store.get_service_quota(wish["name"])}


async def answer_group_list(supervisor: Supervisor, _: dict[str, Any]) -> object:
    """List the groups."""
    store = GroupStore(Store(supervisor.platform.layout.identity_db))
    return [group.describe() for group in store.list_groups()]


async def answer_group_add(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Make a group, or put more people into it."""
    layout = supervisor.platform.layout
    group = GroupStore(Store(layout.identity_db)).put_group(wish["name"], wish["users"], wish["description"])
    bump_epoch(layout.epoch_file)
    return group.describe()


async def answer_group_remove(supervisor: Supervisor, wish: dict[str, Any]) -> object:
    """Take people out of a group; remove the group if nobody is named."""
    layout = supervisor.platform.layout
    store = GroupStore(Store(layout.identity_db))
    group = store.take_out(wish["name"], wish["users"]) if wish["users"] else store.remove_group(wish["name"])
    bump_epoch(layout.epoch_file)
    return group.describe()


OPERATIONS: dict[str, Operation] = {
    "status": answer_status,
    "stop": answer_stop,
    "token": answer_token,
    "user_add": answer_user_add,
    "user_list": answer_user_list,
    "user_disable": answer_user_disable,
    "user_quota": answer_user_quota,
    "group_list": answer_group_list,
    "group_add": answer_group_add,
    "group_remove": answer_group_remove,
}


async def answer_line(supervisor: Supervisor, line: bytes) -> dict[str, object]:
    """Return the answer to one line of the control socket.

    Parameters
    ----------
    supervisor
        The supervisor.
    line
        A JSON object with the key ``op``.
    """
    try:
        wish = json.loads(line)
        operation = OPERATIONS[wish["op"]]
    except (ValueError, KeyError, TypeError):
        return {"error": "unknown operation", "code": "usage"}
    try:
        return {"result": await operation(supervisor, wish)}
    except HubError as error:
        return {"error": str(error), "code": error.code}
    except (OSError, TimeoutError) as error:
        return {"error": f"a process did not answer ({type(error).__name__})", "code": ServiceError.code}
    except (KeyError, TypeError) as error:
        return {"error": f"bad argument: {error}", "code": "usage"}


async def serve_control(supervisor: Supervisor, path: Path) -> asyncio.Server:
    """Listen on the private socket (mode 0600).

    Parameters
    ----------
    supervisor
        The supervisor.
    path
        The socket.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if line := await reader.readline():
                writer.write(json.dumps(await answer_line(supervisor, line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    path.chmod(0o600)
    return server
