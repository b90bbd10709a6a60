"""The OpenAPI description is complete, and nothing that it allows or forbids breaks a service."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.support.services import ANN, LiveServices

ADDRESS = "/api/openapi.json"
EXAMPLES = 2
SOAK_EXAMPLES = 100
# What an answer must never tell: names of what the services are built on, and where they lie.
LEAK = re.compile(
    r"Traceback|duckdb|sqlite3?\.|psycopg|Catalog Error|Binder Error|File \"/|site-packages", re.I
)
# A plain proxy's answer to what is no HTTP comes before any route: only the routes' own answers have documents.
DOCUMENTS = ("application/x-votable+xml", "application/json", "text/plain", "text/xml", "application/xml")


@pytest.fixture(scope="module")
def description(live_services: LiveServices) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(live_services.url + ADDRESS, timeout=60).json()
    return found


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, o) for path, methods in description["paths"].items() for method, o in methods.items()
    ]


def test_every_operation_is_described(description: dict[str, Any]) -> None:
    found = operations(description)
    names = Counter(operation["operationId"] for _, _, operation in found)
    assert [name for name, number in names.items() if number > 1] == []
    assert len(found) > 80
    for path, method, operation in found:
        assert operation["summary"], path
        assert operation["tags"], path
        assert {"400", "401", "403", "404", "413", "429", "503"} <= set(operation["responses"]), (
            path,
            method,
        )
        assert "422" not in operation["responses"]
    assert description["security"] == [{"token": []}, {"basic": []}]
    described = {path for path, _, _ in found}
    assert {"/api/tap/sync", "/api/sia/{release}/query", "/api/cutout/sync", "/api/batch"} <= described
    names_of = {p["name"] for p in description["paths"]["/api/tap/async"]["get"]["parameters"]}
    assert names_of == {"PHASE", "AFTER", "LAST"}


def attack(
    operation: Any, url: str, session: requests.Session, mode: GenerationMode, examples: int
) -> list[str]:
    failures: list[str] = []
    known = {"release": "demo", "detail": "destruction"}
    headers = {"Authorization": f"Bearer {ANN}"}
    if "/{job_id}" in operation.path:
        # A job that exists is harder to get right than one that does not.
        jobs = url + operation.path.split("/{job_id}")[0]
        made = session.post(
            jobs, data={"QUERY": "SELECT 1"}, headers=headers, allow_redirects=False, timeout=60
        )
        if made.status_code == 303:
            known["job_id"] = made.headers["location"].rsplit("/", 1)[1]

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.integers(0, 3))
    def send(case: Any, real: int) -> None:
        if real:
            case.path_parameters = {k: known.get(k, v) for k, v in (case.path_parameters or {}).items()}
        # Who asks for patience gets it, but not here.
        case.query = {k: v for k, v in (case.query or {}).items() if k.upper() != "WAIT"}
        answer = case.call(
            base_url=url, session=session, timeout=60, headers={"Authorization": f"Bearer {ANN}"}
        )
        text = answer.text if answer.status_code >= 400 else ""
        kind = answer.headers.get("content-type", [""])[0].split(";")[0]
        wrong = answer.status_code == 500 or (text and (LEAK.search(text) or kind not in DOCUMENTS))
        if wrong:
            failures.append(
                f"{operation.label}: {answer.status_code} {kind} {text[:300]}\n{case.as_curl_command()[:600]}"
            )

    # An operation without parameters has none to get wrong.
    with suppress(*([Unsatisfiable] if mode == GenerationMode.NEGATIVE else [])):
        send()
    return failures


def test_no_request_that_the_description_leads_to_breaks_a_service(
    live_services: LiveServices, description: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    examples = SOAK_EXAMPLES if request.config.getoption("--soak") else EXAMPLES
    schema = schemathesis.openapi.from_dict(description)
    failures = []
    with requests.Session() as session:
        session.max_redirects = 3
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                failures += attack(operation, live_services.url, session, mode, examples)
    assert failures == [], "\n".join(failures)


HEADERS = (
    "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Cookie", "Depth", "Host", "If-Modified-Since", "If-None-Match",
    "Origin", "Range", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID",
)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60) | st.sampled_from(
    [
        "bytes=9-3",
        "bytes=0-,5-6",
        "gzip;q=nan",
        "Basic ====",
        "Bearer " + "x" * 5000,
        "multipart/form-data",
        "application/json",
    ]
)
PLACES = (
    "/api/tap/sync?QUERY=SELECT+1",
    "/api/tap/async",
    "/api/cutout/sync?ID=x",
    "/files/ann",
    "/repertoire/discovery",
)


def test_no_header_breaks_a_service(live_services: LiveServices, request: pytest.FixtureRequest) -> None:
    failures = []

    @settings(
        max_examples=2000 if request.config.getoption("--soak") else 60,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(["GET", "POST"]),
        st.sampled_from(PLACES),
        st.dictionaries(st.sampled_from(HEADERS), VALUES, min_size=1),
    )
    def send(method: str, place: str, headers: dict[str, str]) -> None:
        headers = {"Authorization": f"Bearer {ANN}"} | {
            name: value.strip() for name, value in headers.items()
        }
        answer = requests.request(method, live_services.url + place, headers=headers, timeout=60)
        if answer.status_code == 500 or (answer.status_code >= 400 and LEAK.search(answer.text)):
            failures.append(f"{method} {place} {headers}: {answer.status_code} {answer.text[:300]}")

    send()
    assert failures == [], "\n".join(failures)
