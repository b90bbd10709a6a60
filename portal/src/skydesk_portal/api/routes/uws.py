"""The resources of UWS 1.1, the same for every service that has jobs."""

# No postponed annotations here: the routes close over the dependency that names their scope.

import asyncio
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from skydesk_portal.api.dependencies import FactoryDependency, Form, FormDependency, require
from skydesk_portal.api.streams import send_file
from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import FINAL_PHASES, STARTABLE_PHASES, WAITING_PHASES, Job, JobKind, Phase
from skydesk_portal.vo.dali import error_votable
from skydesk_portal.vo.uws import (
    format_instant,
    job_xml,
    jobs_xml,
    parameters_xml,
    parse_instant,
    results_xml,
)

__all__ = ["create_uws_router"]

_CONTROL = ("PHASE", "RUNID", "EXECUTIONDURATION", "DESTRUCTION", "WAIT")

type Check = Callable[[Factory, Identity, Form], None]


def _phases(form: Form) -> list[Phase]:
    out = []
    for value in form.values("PHASE"):
        try:
            out.append(Phase(value.upper()))
        except ValueError as error:
            raise UsageError(f"PHASE={value[:30]} is not a phase of UWS") from error
    return out


def _instant(text: str, name: str) -> datetime:
    value = parse_instant(text)
    if value is None:
        raise UsageError(f"{name}={text[:40]} is not an instant such as 2026-11-20T12:00:00Z")
    return value


def _seconds(text: str, name: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text.strip()):
        raise UsageError(f"{name}={text[:40]} is not a whole number")
    return int(text)


def _count(text: str, name: str) -> int:
    value = _seconds(text, name)
    # The largest number that both job stores can take.
    if not 0 <= value < 2**31:
        raise UsageError(f"{name}={text[:40]} is not a count")
    return value


async def _wait(factory: Factory, identity: Identity, job: Job, form: Form) -> Job:
    asked = form.find("WAIT")
    if asked is None:
        return job
    longest = factory.settings.portal.wait_seconds
    seconds = _seconds(asked, "WAIT")
    # WAIT=-1 asks for ever; nobody is made to wait longer than the service likes, and may ask again.
    end = time.monotonic() + (longest if seconds < 0 else min(seconds, longest))
    watched = _phases(form)[-1:] or [job.phase]
    jobs = factory.create_job_service()
    pause = 0.02
    while job.phase in WAITING_PHASES and job.phase == watched[0] and time.monotonic() < end:
        await asyncio.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(pause * 1.5, 0.5)
        job = await asyncio.to_thread(jobs.get_job, identity, job.id)
    return job


def _location(url: str) -> RedirectResponse:
    return RedirectResponse(url, status_code=303)


def _xml(content: bytes) -> Response:
    return Response(content, media_type="text/xml")


def create_uws_router(path: str, kind: JobKind, scope: str, check: Check | None = None) -> APIRouter:
    """Make the job resources of a service.

    Parameters
    ----------
    path
        Path of the job list, such as ``/api/tap/async``.
    kind
        Kind of the jobs.
    scope
        Scope that callers need.
    check
        Looks at the parameters before a job is made or run.

    Returns
    -------
    APIRouter
        Routes for the list, each job and everything below it.
    """
    router = APIRouter()
    caller = Annotated[Identity, Depends(require(scope))]

    def base(factory: Factory) -> str:
        return factory.settings.url + path

    _add_list(router, path, kind, caller, base, check)
    _add_job(router, path, kind, caller, base, check)
    _add_details(router, path, kind, caller, base)
    return router


def _add_list(
    router: APIRouter,
    path: str,
    kind: JobKind,
    caller: type,
    base: Callable[[Factory], str],
    check: Check | None,
) -> None:
    @router.get(path, summary="List your jobs")
    async def list_jobs(factory: FactoryDependency, identity: caller, form: FormDependency) -> Response:
        after, last = form.find("AFTER"), form.find("LAST")
        jobs = await asyncio.to_thread(
            factory.create_job_service().list_jobs,
            identity,
            kind,
            _phases(form),
            _instant(after, "AFTER") if after else None,
            _count(last, "LAST") if last else None,
        )
        return _xml(jobs_xml(jobs, base(factory)))

    @router.post(path, summary="Make a job")
    async def create_job(factory: FactoryDependency, identity: caller, form: FormDependency) -> Response:
        run = (form.find("PHASE") or "").upper() == "RUN"
        if run and check is not None:
            await asyncio.to_thread(check, factory, identity, form)
        duration, destruction = form.find("EXECUTIONDURATION"), form.find("DESTRUCTION")

        def create() -> Job:
            return factory.create_job_service().create_job(
                identity,
                kind=kind,
                parameters=form.without(*_CONTROL),
                run=run,
                run_id=form.find("RUNID"),
                files=form.files,
                execution_seconds=_seconds(duration, "EXECUTIONDURATION") if duration else None,
                destruction=_instant(destruction, "DESTRUCTION") if destruction else None,
            )

        job = await asyncio.to_thread(create)
        return _location(f"{base(factory)}/{job.id}")


def _add_job(
    router: APIRouter,
    path: str,
    kind: JobKind,
    caller: type,
    base: Callable[[Factory], str],
    check: Check | None,
) -> None:
    @router.get(path + "/{job_id}", summary="Show a job")
    async def get_job(
        job_id: str, factory: FactoryDependency, identity: caller, form: FormDependency
    ) -> Response:
        jobs = factory.create_job_service()
        job = await asyncio.to_thread(jobs.get_job, identity, job_id, kind)
        job = await _wait(factory, identity, job, form)
        return _xml(job_xml(job, f"{base(factory)}/{job.id}"))

    @router.post(path + "/{job_id}", summary="Delete a job (ACTION=DELETE) or set its parameters")
    async def post_job(
        job_id: str, factory: FactoryDependency, identity: caller, form: FormDependency
    ) -> Response:
        jobs = factory.create_job_service()
        await asyncio.to_thread(jobs.get_job, identity, job_id, kind)
        if (form.find("ACTION") or "").upper() == "DELETE":
            await asyncio.to_thread(jobs.delete, identity, job_id)
            return _location(base(factory))
        await asyncio.to_thread(
            jobs.set_parameters, identity, job_id, form.without(*_CONTROL, "ACTION"), form.files
        )
        return _location(f"{base(factory)}/{job_id}")

    @router.delete(path + "/{job_id}", summary="Delete a job")
    async def delete_job(job_id: str, factory: FactoryDependency, identity: caller) -> Response:
        jobs = factory.create_job_service()
        await asyncio.to_thread(jobs.get_job, identity, job_id, kind)
        await asyncio.to_thread(jobs.delete, identity, job_id)
        return _location(base(factory))

    @router.get(path + "/{job_id}/phase", summary="Show the phase of a job")
    async def get_phase(
        job_id: str, factory: FactoryDependency, identity: caller, form: FormDependency
    ) -> Response:
        jobs = factory.create_job_service()
        job = await asyncio.to_thread(jobs.get_job, identity, job_id, kind)
        return PlainTextResponse((await _wait(factory, identity, job, form)).phase.value)

    @router.post(path + "/{job_id}/phase", summary="Run, abort or archive a job")
    async def post_phase(
        job_id: str, factory: FactoryDependency, identity: caller, form: FormDependency
    ) -> Response:
        jobs = factory.create_job_service()
        job = await asyncio.to_thread(jobs.get_job, identity, job_id, kind)
        wanted = (form.find("PHASE") or "").upper()
        if wanted == "RUN":
            if check is not None and job.phase in STARTABLE_PHASES:
                given = Form(job.parameters, jobs.read_files(job))
                await asyncio.to_thread(check, factory, identity, given)
            await asyncio.to_thread(jobs.run, identity, job_id)
        elif wanted == "ABORT":
            await asyncio.to_thread(jobs.abort, identity, job_id)
        elif wanted == "ARCHIVE":
            await asyncio.to_thread(jobs.archive, identity, job_id)
        else:
            raise UsageError(f"PHASE={wanted[:30]}: a phase is set to RUN, ABORT or ARCHIVE")
        return _location(f"{base(factory)}/{job_id}")


def _show_detail(job: Job, detail: str, url: str) -> Response:
    texts = {
        "executionduration": str(job.execution_seconds),
        "destruction": format_instant(job.destruction),
        "quote": format_instant(job.quote),
        "owner": job.owner,
    }
    if detail in texts:
        return PlainTextResponse(texts[detail])
    if detail == "parameters":
        return _xml(parameters_xml(job, url))
    if detail == "results":
        return _xml(results_xml(job, url))
    if detail != "error":
        raise NotFoundError(f"a job has no property {detail[:30]!r}")
    if job.error is not None:
        return Response(error_votable(job.error.message), media_type="application/x-votable+xml")
    if job.phase in FINAL_PHASES:
        return PlainTextResponse("")
    raise NotFoundError(f"job {job.id} has no error")


def _add_details(
    router: APIRouter, path: str, kind: JobKind, caller: type, base: Callable[[Factory], str]
) -> None:
    async def fetch(factory: Factory, identity: Identity, job_id: str) -> Job:
        return await asyncio.to_thread(factory.create_job_service().get_job, identity, job_id, kind)

    @router.get(path + "/{job_id}/results/{name}", summary="Fetch a result")
    async def get_result(
        job_id: str, name: str, request: Request, factory: FactoryDependency, identity: caller
    ) -> Response:
        await fetch(factory, identity, job_id)
        file, media_type = await asyncio.to_thread(
            factory.create_job_service().result_path, identity, job_id, name
        )
        return send_file(request, file, media_type)

    @router.get(path + "/{job_id}/parameters/{name}", summary="Fetch a file that was sent along")
    async def get_file(job_id: str, name: str, factory: FactoryDependency, identity: caller) -> Response:
        job = await fetch(factory, identity, job_id)
        content = await asyncio.to_thread(factory.create_job_service().find_file, job, name)
        if content is None:
            raise NotFoundError(f"job {job_id} has no file {name[:40]!r}")
        # Whatever was sent, no browser is to take it for a page of the platform.
        headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    @router.get(path + "/{job_id}/{detail}", summary="Show one property of a job")
    async def get_detail(job_id: str, detail: str, factory: FactoryDependency, identity: caller) -> Response:
        job = await fetch(factory, identity, job_id)
        return _show_detail(job, detail, f"{base(factory)}/{job.id}")

    @router.post(path + "/{job_id}/{detail}", summary="Set one property of a job")
    async def post_detail(
        job_id: str,
        detail: str,
        factory: FactoryDependency,
        identity: caller,
        form: FormDependency,
        request: Request,
    ) -> Response:
        jobs = factory.create_job_service()
        await fetch(factory, identity, job_id)
        if detail == "executionduration":
            seconds = _seconds(form.find("EXECUTIONDURATION") or "", "EXECUTIONDURATION")
            await asyncio.to_thread(jobs.set_duration, identity, job_id, seconds)
        elif detail == "destruction":
            instant = _instant(form.find("DESTRUCTION") or "", "DESTRUCTION")
            await asyncio.to_thread(jobs.set_destruction, identity, job_id, instant)
        elif detail == "parameters":
            await asyncio.to_thread(
                jobs.set_parameters, identity, job_id, form.without(*_CONTROL), form.files
            )
        else:
            raise UsageError(f"the property {detail[:30]!r} of a job cannot be set")
        return _location(f"{base(factory)}/{job_id}")
