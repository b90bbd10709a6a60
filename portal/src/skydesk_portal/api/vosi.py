"""The two VOSI documents of services whose own addresses need nothing else from that standard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, Depends, Request, Response

from skydesk_portal.api.dependencies import FactoryDependency
from skydesk_portal.models.identity import Identity
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["add_vosi"]


def add_vosi(
    router: APIRouter,
    prefix: str,
    allowed: Callable[[Request], Awaitable[Identity]],
    standards: Sequence[tuple[str, str]],
) -> None:
    """Add ``capabilities`` and ``availability`` to a service (VOSI 1.1).

    Parameters
    ----------
    router
        The routes of the service.
    prefix
        Where the service is; gaps such as ``{release}`` are filled with what was asked for.
    allowed
        Lets callers in.
    standards
        Standard identifiers and the address of each below the service.
    """

    @router.get(
        prefix + "/capabilities",
        summary="What the service can do (VOSI)",
        dependencies=[Depends(allowed)],
        name=f"capabilities of {prefix}",
    )
    async def get_capabilities(request: Request, factory: FactoryDependency) -> Response:
        base = factory.settings.url + request.url.path.removesuffix("/capabilities")
        named = [(identifier, base + path) for identifier, path in standards]
        return Response(capabilities_xml(base, named), media_type="text/xml")

    @router.get(
        prefix + "/availability",
        summary="Whether the service can be used (VOSI)",
        name=f"availability of {prefix}",
    )
    async def get_availability(request: Request) -> Response:
        document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
        return Response(document, media_type="text/xml")
