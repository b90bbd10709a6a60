"""Subscriptions to alerts over HTTP: make, watch, pause, end; their alerts as Atom and JSON feeds."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.factory import Factory
from skydesk_portal.models.alert_subscriptions import (
    EVERY_RELEASE,
    Subscription,
    SubscriptionState,
    SubscriptionWish,
)
from skydesk_portal.models.identity import Identity
from skydesk_portal.vo.alert_feeds import ATOM, JSON_FEED, write_atom, write_json_feed

__all__ = ["Change", "Replay", "Wish", "router"]

PREFIX = "/api/alerts/subscriptions"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:alertdb"))]


class Wish(BaseModel):
    """What somebody wants to subscribe to."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """What you call it."""

    release: str = EVERY_RELEASE
    """Name of a release; `*` for every one that you may read."""

    filter: str = ""
    """Name of a supplied filter; empty for a condition of your own."""

    condition: str = ""
    """Condition of your own: ADQL on the columns of `DiaSource`; empty lets all through."""

    to_files: bool = False
    """Whether packets are also written as Avro files into `alerts/` in your storage."""

    webhook: str = ""
    """Address that is told of alerts, where the platform allows it."""


class Change(BaseModel):
    """What shall change of a subscription."""

    model_config = ConfigDict(extra="forbid")

    state: SubscriptionState


class Replay(BaseModel):
    """How many of the newest alerts shall be sent again."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(100, ge=1, le=1000)


def _describe(factory: Factory, found: Subscription) -> dict[str, Any]:
    service = factory.create_alert_subscription_service()
    return {
        "id": found.id,
        **asdict(found.wish),
        "state": found.state,
        "created_s": found.created_s,
        "seen": found.seen,
        "sent": found.sent,
        "failed": found.failed,
        "error": found.error,
        "error_s": found.error_s or None,
        "feeds": {form: service.describe_feed(found, form) for form in ("atom", "json")},
        "url": f"{factory.settings.url}{PREFIX}/{found.id}",
    }


@router.get("/api/alerts/filters", summary="The filters that everybody has, for a release")
async def list_filters(
    factory: FactoryDependency,
    identity: Caller,
    release: Annotated[str, Query(alias="RELEASE")] = EVERY_RELEASE,
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    found = await asyncio.to_thread(service.list_filters, identity, release)
    return JSONResponse({"version": 1, "filters": [asdict(one) for one in found]})


@router.get(PREFIX, summary="List your subscriptions to alerts")
async def list_subscriptions(factory: FactoryDependency, identity: Caller) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    found = await asyncio.to_thread(service.list_subscriptions, identity)
    return JSONResponse({"version": 1, "subscriptions": [_describe(factory, one) for one in found]})


@router.post(PREFIX, status_code=201, summary="Subscribe to the alerts that are issued from now on")
async def create_subscription(wish: Wish, factory: FactoryDependency, identity: Caller) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    made = await asyncio.to_thread(service.create, identity, SubscriptionWish(**wish.model_dump()))
    told = _describe(factory, made)
    return JSONResponse(told, status_code=201, headers={"Location": told["url"]})


@router.get(PREFIX + "/{subscription_id}", summary="Show a subscription with its figures")
async def get_subscription(
    subscription_id: str, factory: FactoryDependency, identity: Caller
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    return JSONResponse(_describe(factory, await asyncio.to_thread(service.get, identity, subscription_id)))


@router.patch(PREFIX + "/{subscription_id}", summary="Pause a subscription, or let it go on")
async def change_subscription(
    subscription_id: str, change: Change, factory: FactoryDependency, identity: Caller
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    now = await asyncio.to_thread(service.set_state, identity, subscription_id, change.state)
    return JSONResponse(_describe(factory, now))


@router.delete(PREFIX + "/{subscription_id}", status_code=204, summary="End a subscription")
async def remove_subscription(subscription_id: str, factory: FactoryDependency, identity: Caller) -> Response:
    service = factory.create_alert_subscription_service()
    await asyncio.to_thread(service.remove, identity, subscription_id)
    return Response(status_code=204)


@router.post(PREFIX + "/{subscription_id}/replay", status_code=202, summary="Send the newest alerts again")
async def replay_alerts(
    subscription_id: str, wish: Replay, factory: FactoryDependency, identity: Caller
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    count = await asyncio.to_thread(service.replay, identity, subscription_id, wish.count)
    return JSONResponse({"version": 1, "alerts": count}, status_code=202)


@router.post(PREFIX + "/{subscription_id}/feed", summary="Give the feed new addresses; the old ones end")
async def renew_feed(subscription_id: str, factory: FactoryDependency, identity: Caller) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    return JSONResponse(
        _describe(factory, await asyncio.to_thread(service.renew_feed, identity, subscription_id))
    )


@router.get(
    PREFIX + "/{subscription_id}/log", summary="What became of each batch of alerts, the newest first"
)
async def list_notes(
    subscription_id: str,
    factory: FactoryDependency,
    identity: Caller,
    last: Annotated[int, Query(alias="LAST", ge=1, le=10_000)] = 100,
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    found = await asyncio.to_thread(service.list_notes, identity, subscription_id, last)
    return JSONResponse({"version": 1, "log": [asdict(one) for one in found]})


@router.get(PREFIX + "/{subscription_id}/alerts", summary="The alerts that were delivered, the newest first")
async def list_deliveries(
    subscription_id: str,
    factory: FactoryDependency,
    identity: Caller,
    last: Annotated[int, Query(alias="LAST", ge=1, le=10_000)] = 1000,
    before: Annotated[int | None, Query(alias="BEFORE", ge=1, lt=1 << 53)] = None,
) -> JSONResponse:
    service = factory.create_alert_subscription_service()
    found = await asyncio.to_thread(service.list_deliveries, identity, subscription_id, last, before)
    base = f"{factory.settings.url}/api/alerts"
    return JSONResponse(
        {
            "version": 1,
            "alerts": [
                # 64-bit numbers are text in JSON.
                asdict(one)
                | {"alert_id": str(one.alert_id), "url": f"{base}?ID={one.alert_id}&RELEASE={one.release}"}
                for one in found
            ],
        }
    )


async def _reader(request: Request) -> Identity | None:
    """Let in whoever brings the secret part of a feed's address; anybody else needs a token."""
    if "e" in request.query_params and "s" in request.query_params:
        return None
    return await require("read:alertdb")(request)


@router.get(
    PREFIX + "/{subscription_id}/feed.{form}", summary="The newest alerts as a feed, by its secret address"
)
async def read_feed(
    subscription_id: str,
    form: str,
    factory: FactoryDependency,
    identity: Annotated[Identity | None, Depends(_reader)],
    e: str = "",
    s: str = "",
) -> Response:
    service = factory.create_alert_subscription_service()
    if identity is not None:
        found, entries = await asyncio.to_thread(service.read_own_feed, identity, subscription_id)
    else:
        found, entries = await asyncio.to_thread(service.read_feed, subscription_id, e, s)
    if form not in ("atom", "json"):
        raise NotFoundError("a feed is feed.atom or feed.json")
    write, media_type = (write_atom, ATOM) if form == "atom" else (write_json_feed, JSON_FEED)
    headers = {"Cache-Control": "private, no-cache"}
    return Response(write(found, entries, factory.settings.url), media_type=media_type, headers=headers)
