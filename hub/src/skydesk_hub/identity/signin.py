"""Signing in and out: the form, its protection against guessing and forged requests, one-time links."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import defaultdict, deque
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from skydesk_hub.errors import UserError
from skydesk_hub.identity.pages import Pages
from skydesk_hub.identity.store import Store, User
from skydesk_hub.supervisor.table import Platform

__all__ = ["Sessions", "make_router"]

SESSION_LIFE_S = 24 * 3600
SESSION_COOKIE = "skydesk_session"
FORM_COOKIE = "skydesk_form"
PATH = "/auth"  # never "/": labs on the same origin must not receive it
TRIES, TRIES_OF_MANY, TRIES_WITHIN_S = 10, 60, 300


class Throttle:
    """Counts failed attempts by name and address together, and more generously by each of them alone."""

    def __init__(self) -> None:
        self.failures: dict[str, deque[float]] = defaultdict(deque)

    def wait_s(self, *keys: str) -> int:
        """Return the seconds to wait before the next attempt, 0 when one is free.

        Parameters
        ----------
        *keys
            What attempts are counted by.
        """
        now, longest = time.monotonic(), 0.0
        for key in keys:
            times = self.failures.get(key)
            while times and times[0] < now - TRIES_WITHIN_S:
                times.popleft()
            if times is not None and not times:
                del self.failures[key]
            elif times and len(times) >= (TRIES if "|" in key else TRIES_OF_MANY):
                longest = max(longest, times[0] + TRIES_WITHIN_S - now)
        return int(longest) + 1 if longest else 0

    def note(self, *keys: str) -> None:
        """Count a failed attempt.

        Parameters
        ----------
        *keys
            What attempts are counted by.
        """
        for key in keys:
            self.failures[key].append(time.monotonic())


class Sessions:
    """Sessions of signed-in people and the tokens in forms.

    Parameters
    ----------
    platform
        What is known.
    store
        Users and sessions.
    """

    def __init__(self, platform: Platform, store: Store) -> None:
        self.platform, self.store = platform, store
        self.secure = platform.url.startswith("https://")
        self.key = platform.keys.cookie_secret.encode()

    def find_user(self, request: Request) -> User | None:
        """Return who is signed in, or None.

        Parameters
        ----------
        request
            The request with its cookie.
        """
        secret = request.cookies.get(SESSION_COOKIE)
        found = self.store.find_secret("session", secret) if secret else None
        return found[0] if found else None

    def begin(self, response: Response, user: User) -> None:
        """Sign a person in.

        Parameters
        ----------
        response
            Gets the cookie.
        user
            The person.
        """
        self.set_cookie(
            response,
            SESSION_COOKIE,
            self.store.make_secret("session", user.name, SESSION_LIFE_S),
            SESSION_LIFE_S,
        )

    def end(self, request: Request, response: Response) -> None:
        """Sign a person out.

        Parameters
        ----------
        request, response
            Cookie in, cookie out.
        """
        if secret := request.cookies.get(SESSION_COOKIE):
            self.store.drop_secret("session", secret)
        response.delete_cookie(SESSION_COOKIE, path=PATH)

    def set_cookie(self, response: Response, name: str, value: str, life_s: int) -> None:
        """Set a cookie that scripts cannot read and other sites cannot send.

        Parameters
        ----------
        response, name, value, life_s
            The cookie.
        """
        response.set_cookie(name, value, life_s, path=PATH, httponly=True, samesite="lax", secure=self.secure)

    def form_token(self, request: Request) -> tuple[str, str]:
        """Return the form's cookie and the token that belongs to it.

        Parameters
        ----------
        request
            May already have the cookie.
        """
        cookie = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
        return cookie, hmac.new(self.key, f"form:{cookie}".encode(), "sha256").hexdigest()

    def is_genuine(self, request: Request, token: str) -> bool:
        """Say whether a form was sent from our own page.

        Parameters
        ----------
        request
            The request.
        token
            As the form sent it.
        """
        origin = request.headers.get("origin")
        expected = self.form_token(request)[1]
        same = (
            origin is None
            or origin == "null"
            or origin in (self.platform.url, f"http://{request.headers.get('host')}")
        )
        return FORM_COOKIE in request.cookies and same and hmac.compare_digest(expected, token)


def is_own_path(path: str) -> bool:
    """Say whether an address to go on to lies on this site.

    Parameters
    ----------
    path
        As given in the request.
    """
    return (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and all(ord(c) > 32 for c in path)
    )


class Forms:
    """Shows pages with a form and its token.

    Parameters
    ----------
    sessions, pages
        What it works with.
    """

    def __init__(self, sessions: Sessions, pages: Pages) -> None:
        self.sessions, self.pages = sessions, pages

    def show(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        """Return a page with a form.

        Parameters
        ----------
        request
            May already have the form's cookie.
        template, status, **values
            The page.
        """
        cookie, token = self.sessions.form_token(request)
        response = self.pages.render(template, status, form_token=token, **values)
        self.sessions.set_cookie(response, FORM_COOKIE, cookie, SESSION_LIFE_S)
        return response

    def refuse_link(self) -> Response:
        """Return the page for a one-time link that does not count."""
        text = "This link was used already or has expired."
        return self.pages.render("message.html", 404, title="Link not valid", text=text)


def make_router(store: Store, sessions: Sessions, pages: Pages) -> APIRouter:
    """Return the routes of signing in and out.

    Parameters
    ----------
    store, sessions, pages
        What they work with.
    """
    router = APIRouter(prefix="/auth", include_in_schema=False)
    forms = Forms(sessions, pages)
    checking = asyncio.Semaphore(2)  # argon2 takes 64 MiB a time
    add_sign_in(router, store, forms, checking)
    add_sign_out(router, forms)
    add_links(router, store, forms, checking)
    return router


def add_sign_in(router: APIRouter, store: Store, forms: Forms, checking: asyncio.Semaphore) -> None:
    """Add the sign-in form.

    Parameters
    ----------
    router, store, forms
        What it works with.
    checking
        Held while a password is compared.
    """
    throttle = Throttle()
    sessions = forms.sessions

    @router.get("/login")
    def ask(request: Request, next: str = "/") -> Response:  # noqa: A002  # the parameter's name in the address
        goal = next if is_own_path(next) else "/"
        if sessions.find_user(request):
            return RedirectResponse(goal, 303)
        return forms.show(request, "login.html", goal=goal)

    @router.post("/login")
    async def check(
        request: Request,
        name: Annotated[str, Form(max_length=200)] = "",
        password: Annotated[str, Form(max_length=2000)] = "",
        form_token: Annotated[str, Form(max_length=200)] = "",
        goal: Annotated[str, Form(max_length=4000)] = "/",
    ) -> Response:
        goal = goal if is_own_path(goal) else "/"
        name = name.strip().lower()
        if not sessions.is_genuine(request, form_token):
            problem = "The form had expired. Please try again."
            return forms.show(request, "login.html", 403, goal=goal, name=name, problem=problem)
        address = (request.headers.get("x-forwarded-for") or "local").split(",")[-1].strip()
        keys = (f"{name}|{address}", f"name:{name}", f"address:{address}")
        if wait_s := throttle.wait_s(*keys):
            problem = f"Too many attempts. Please try again in {-(-wait_s // 60)} min."
            response = forms.show(request, "login.html", 429, goal=goal, name=name, problem=problem)
            response.headers["Retry-After"] = str(wait_s)
            return response
        async with checking:
            user = await asyncio.to_thread(store.check_password, name, password)
        if user is None:
            throttle.note(*keys)
            problem = "Name or password is not right."
            return forms.show(request, "login.html", 401, goal=goal, name=name, problem=problem)
        answer = RedirectResponse(goal, 303)
        sessions.begin(answer, user)
        return answer


def add_sign_out(router: APIRouter, forms: Forms) -> None:
    """Add the way out.

    Parameters
    ----------
    router, forms
        What it works with.
    """

    @router.get("/logout")
    def leave(request: Request) -> Response:
        if not forms.sessions.find_user(request):
            return RedirectResponse("/", 303)
        return forms.show(request, "logout.html")

    @router.post("/logout")
    def left(request: Request, form_token: Annotated[str, Form()] = "") -> Response:
        if not forms.sessions.is_genuine(request, form_token):
            return forms.show(request, "logout.html", 403)
        # The hub ends its own session next; it comes back to GET /auth/logout, which then leads home.
        answer = RedirectResponse("/nb/hub/logout", 303)
        forms.sessions.end(request, answer)
        return answer


def add_links(router: APIRouter, store: Store, forms: Forms, checking: asyncio.Semaphore) -> None:
    """Add the one-time links with which people choose their password.

    Parameters
    ----------
    router, store, forms
        What they work with.
    checking
        Held while a password is hashed.
    """
    sessions = forms.sessions

    @router.get("/once/{token}")
    def ask_password(request: Request, token: str) -> Response:
        found = store.find_secret("once", token)
        return forms.show(request, "once.html", user=found[0], token=token) if found else forms.refuse_link()

    @router.post("/once/{token}")
    async def set_password(
        request: Request,
        token: str,
        password: Annotated[str, Form(max_length=2000)] = "",
        again: Annotated[str, Form(max_length=2000)] = "",
        form_token: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        found = store.find_secret("once", token)
        if not found:
            return forms.refuse_link()
        user = found[0]

        def ask_again(status: int, problem: str) -> Response:
            return forms.show(request, "once.html", status, user=user, token=token, problem=problem)

        if not sessions.is_genuine(request, form_token):
            return ask_again(403, "The form had expired. Please try again.")
        if password != again:
            return ask_again(400, "The two passwords differ.")
        try:
            async with checking:
                await asyncio.to_thread(store.set_password, user.name, password)
        except UserError as error:
            return ask_again(400, f"{str(error).capitalize()}.")
        if not store.find_secret("once", token, take=True):
            return forms.refuse_link()
        answer = RedirectResponse("/", 303)
        sessions.begin(answer, user)
        return answer


def login_address(request: Request) -> str:
    """Return the address of the sign-in form that leads back to a request.

    Parameters
    ----------
    request
        The request.
    """
    goal = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/auth/login?next={quote(goal, safe='')}"
