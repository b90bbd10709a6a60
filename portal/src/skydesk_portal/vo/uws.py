"""UWS 1.1 documents, on the models of vo-models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from vo_models.uws import Jobs, ShortJobDescription
from vo_models.uws.types import ExecutionPhase

from skydesk_portal.models.jobs import Job

__all__ = ["format_instant", "job_xml", "jobs_xml", "parameters_xml", "parse_instant", "results_xml"]

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# What XML 1.0 has no place for.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NS = (
    'xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


def format_instant(value: datetime | None) -> str:
    """Return an instant as DALI writes it, empty for none."""
    return "" if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_instant(text: str) -> datetime | None:
    """Read an instant, `None` if it is none."""
    from datetime import UTC

    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def jobs_xml(jobs: Sequence[Job], base_url: str) -> bytes:
    """Return the list of jobs.

    Parameters
    ----------
    jobs
        The jobs.
    base_url
        Address of the list.

    Returns
    -------
    bytes
        A ``uws:jobs`` document.
    """
    refs = [
        ShortJobDescription(
            phase=ExecutionPhase(job.phase.value),
            run_id=job.run_id and _ILLEGAL.sub("\ufffd", job.run_id),
            owner_id=job.owner,
            creation_time=format_instant(job.creation_time),  # type: ignore[arg-type]  # a string keeps the Z
            job_id=job.id,
            href=f"{base_url}/{job.id}",
        )
        for job in jobs
    ]
    return _HEAD.encode() + bytes(Jobs(jobref=refs).to_xml(skip_empty=True))  # type: ignore[arg-type]


def _text(value: str) -> str:
    # XML has no way to write control characters; what cannot be written is shown as unknown.
    return escape(_ILLEGAL.sub("\ufffd", value))


def _attribute(value: str) -> str:
    return quoteattr(_ILLEGAL.sub("\ufffd", value))


def _parameters(job: Job, url: str) -> str:
    given = [
        f"<uws:parameter id={_attribute(name)}>{_text(value)}</uws:parameter>"
        for name, value in job.parameters
    ]
    # Files are told by their address instead of their content (UWS 1.1, section 2.1.13).
    sent = [
        f'<uws:parameter id={_attribute(name)} byReference="true">{_text(f"{url}/parameters/{name}")}</uws:parameter>'
        for name in job.uploads
    ]
    return "".join([*given, *sent])


def _results(job: Job, url: str) -> str:
    return "".join(
        f'<uws:result id={_attribute(result.name)} xlink:type="simple"'
        f" xlink:href={quoteattr(f'{url}/results/{result.name}')} size={quoteattr(str(result.size))}"
        f" mime-type={quoteattr(result.media_type)}/>"
        for result in job.results
    )


def _instant(name: str, value: datetime | None) -> str:
    return f"<uws:{name}>{format_instant(value)}</uws:{name}>" if value else f'<uws:{name} xsi:nil="true"/>'


def job_xml(job: Job, url: str) -> bytes:
    """Return one job.

    Parameters
    ----------
    job
        The job.
    url
        Its address.

    Returns
    -------
    bytes
        A ``uws:job`` document; order of the elements as in the schema.
    """
    # Parameter names are free here, which the fixed fields of vo-models' parameter classes cannot say.
    parts = [
        f"<uws:jobId>{job.id}</uws:jobId>",
        f"<uws:runId>{_text(job.run_id)}</uws:runId>" if job.run_id else "",
        f"<uws:ownerId>{_text(job.owner)}</uws:ownerId>",
        f"<uws:phase>{job.phase}</uws:phase>",
        _instant("quote", job.quote),
        _instant("creationTime", job.creation_time),
        _instant("startTime", job.start_time),
        _instant("endTime", job.end_time),
        f"<uws:executionDuration>{job.execution_seconds}</uws:executionDuration>",
        _instant("destruction", job.destruction),
        f"<uws:parameters>{_parameters(job, url)}</uws:parameters>",
        f"<uws:results>{_results(job, url)}</uws:results>",
    ]
    if job.error is not None:
        kind = "transient" if job.error.transient else "fatal"
        parts.append(
            f'<uws:errorSummary type="{kind}" hasDetail="true"><uws:message>{_text(job.error.message)}</uws:message>'
            "</uws:errorSummary>"
        )
    if job.progress:
        facts = "".join(
            f"<{name}>{_text(value)}</{name}>" for name, value in job.progress.items() if name.isidentifier()
        )
        parts.append(f"<uws:jobInfo>{facts}</uws:jobInfo>")
    return f'{_HEAD}<uws:job {_NS} version="1.1">{"".join(parts)}</uws:job>\n'.encode()


def parameters_xml(job: Job, url: str) -> bytes:
    """Return the parameters of a job, whose address is given."""
    return f"{_HEAD}<uws:parameters {_NS}>{_parameters(job, url)}</uws:parameters>\n".encode()


def results_xml(job: Job, url: str) -> bytes:
    """Return the results of a job."""
    return f"{_HEAD}<uws:results {_NS}>{_results(job, url)}</uws:results>\n".encode()
