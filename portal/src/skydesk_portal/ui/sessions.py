"""Page sessions: who may go on with one after the network was away, and when their memory is freed."""

from __future__ import annotations

import binascii
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from bokeh.document import Document
from bokeh.document.events import DocumentChangedEvent, DocumentPatchedEvent
from bokeh.protocol.exceptions import ProtocolError
from bokeh.util.token import get_session_id
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.identity import Identity
from skydesk_portal.ui.gate import PREFIX, read_identity

if TYPE_CHECKING:
    from bokeh.server.core import BokehServerCore
    from bokeh.server.session import ServerSession

__all__ = ["OpenSessions", "PageSessions", "create_closing_router", "session_settings"]

_CHECK_MS = 5000
_GONE = 4404
# The server's own end of a connection that did not answer its pings.
_SILENT = 1011
_LONG_S = 1e6
TOKEN_S = 24 * 3600
"""How long a page can go on with its session; as long as somebody stays signed in."""


def session_settings(away_s: float) -> dict[str, int]:
    """Return the settings of Bokeh's server for sessions that outlive a loss of the network.

    Parameters
    ----------
    away_s
        How long a session waits for its page, in seconds.
    """
    away_ms = int(1000 * away_s)
    return {
        "unused_session_lifetime_milliseconds": away_ms,
        "check_unused_sessions_milliseconds": min(_CHECK_MS, away_ms),
        "session_token_expiration": TOKEN_S,
    }


class PageSessions:
    """The open sessions of this process.

    Parameters
    ----------
    core
        Bokeh's server.
    """

    def __init__(self, core: BokehServerCore) -> None:
        self._core = core
        self._changed: WeakKeyDictionary[Document, float] = WeakKeyDictionary()

    def watch(self, document: Document) -> None:
        """Note from now on when a page changes by the server's doing; what changed before comes with its first connection."""
        if document in self._changed:
            return
        self._changed[document] = -math.inf
        callbacks, watched = document.callbacks, ref(document)
        trigger = callbacks.trigger_on_change

        def note(event: DocumentChangedEvent) -> None:
            page = watched()
            if page is not None and isinstance(event, DocumentPatchedEvent):
                session = getattr(page.session_context, "session", None)
                if session is None or event.setter is not session:
                    self.note_change(page)
            trigger(event)

        # Observers of the document hear nothing of what Panel holds back, sends by itself or, without a connection, drops.
        callbacks.trigger_on_change = note  # type: ignore[method-assign]

    def note_change(self, document: Document) -> None:
        """Note that the server has something to say to a page."""
        self._changed[document] = time.monotonic()

    def measure_calm(self, document: Document) -> float:
        """Return for how many seconds the server has had nothing to say to a page."""
        return min(time.monotonic() - self._changed.get(document, -math.inf), _LONG_S)

    def find(self, identity: Identity, session_id: str) -> ServerSession | None:
        """Find a session of a person; the sessions of others do not exist for them.

        Parameters
        ----------
        identity
            Who asks.
        session_id
            Its identifier as Bokeh's token has it.
        """
        for context in self._core.applications.values():
            try:
                session = context.get_session(session_id)
            except ProtocolError:
                continue
            found = session.document.session_context
            request = found.request if found is not None else None
            headers = {k.lower(): v for k, v in (request.headers if request is not None else {}).items()}
            owner = headers.get("x-skydesk-identity")
            if owner and read_identity(owner).name == identity.name:
                return session
        return None


def create_closing_router(sessions: PageSessions) -> APIRouter:
    """Make the routes by which a page asks for its session and gives it back.

    Parameters
    ----------
    sessions
        The open sessions.

    Returns
    -------
    APIRouter
        Routes under ``/portal/app/page-sessions``.
    """
    router = APIRouter(prefix=f"{PREFIX}/page-sessions")

    def get(request: Request, session_id: str) -> ServerSession:
        session = sessions.find(request.scope["state"]["identity"], session_id)
        if session is None:
            raise NotFoundError("this page's session has ended")
        return session

    @router.get("/{session_id}")
    async def read_session(request: Request, session_id: str) -> JSONResponse:
        calm_s = sessions.measure_calm(get(request, session_id).document)
        return JSONResponse({"calm_ms": round(1000 * calm_s)}, headers={"Cache-Control": "no-store"})

    @router.post("/{session_id}/closed")
    async def close_session(request: Request, session_id: str) -> Response:
        # Its page is no more: nothing has to wait for it to come back.
        get(request, session_id).request_expiration()
        return Response(status_code=204)

    return router


class OpenSessions:
    """ASGI middleware that lets a websocket only go on with a session that its owner has open.

    A page's token lives as long as somebody stays signed in. Bokeh would make a new session for it, with the rights that the
    person had when the page was opened; here only a request for the page makes one.

    Parameters
    ----------
    app
        What lies behind.
    sessions
        The open sessions.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], sessions: PageSessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one connection."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        session = self._find(scope)
        if session is None:
            await receive()
            await send({"type": "websocket.close", "code": _GONE})
            return
        document = session.document
        self._sessions.watch(document)

        async def receive_and_note() -> Any:
            message = await receive()
            if message["type"] == "websocket.disconnect" and message.get("code") == _SILENT:
                self._sessions.note_change(document)
            return message

        await self._app(scope, receive_and_note, send)

    def _find(self, scope: MutableMapping[str, Any]) -> ServerSession | None:
        protocols = scope.get("subprotocols", [])
        try:
            session_id = str(get_session_id(protocols[1]))
        except (IndexError, KeyError, TypeError, UnicodeError, binascii.Error, json.JSONDecodeError):
            return None
        return self._sessions.find(scope["state"]["identity"], session_id)
