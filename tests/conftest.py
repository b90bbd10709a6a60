"""What every test may use: real data, a finished demo release, a strict view of skips, a patient look at servers."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from playwright.sync_api import Page, sync_playwright

from tests.support.stack import Stack, bare_stack, running_stack

__all__ = ["bare_stack", "running_stack"]

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # what tests share lies in tests/support
pytest_plugins = [
    "support.stack",
    "support.services",
    "support.products",
    "support.pages",
    "support.postgres",
    "support.spark",
]
DEMO_BUILD_LIMIT_S = 600
STACK_FIXTURES = {"running_stack", "signed_in_page"}
DRIFT_FIXTURE = "drift"
SHARED_FIXTURES = {
    "stack": STACK_FIXTURES,
    "bare": {"bare_stack"},
    "products": {"products", "pages"},
    "spark": {"spark_cluster", "distributed_services"},
}
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-all", action="store_true", help="a test that skips counts as failed")
    parser.addoption("--soak", action="store_true", help="run the long tests, and only those, in full")


def pytest_configure(config: pytest.Config) -> None:
    # A traceback with every local variable takes seconds to write.
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])
    config.addinivalue_line("markers", "soak: long test; only `make soak` runs it, the suite leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the long tests or the others, and begin with the longest chains."""
    soak = bool(config.getoption("--soak"))
    left_out = [item for item in items if (item.get_closest_marker("soak") is not None) != soak]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if (item.get_closest_marker("soak") is not None) == soak]
    # The longest chains start first, one in each worker, so that two workers end at about the same time.
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    names = set(getattr(item, "fixturenames", ()))
    if names & STACK_FIXTURES:
        return 0
    return 1 if DRIFT_FIXTURE in names else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one worker, and all files that share an expensive fixture."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of(nodeid.split("::", 1)[0])

    return GroupScheduling(config, log)


@functools.cache
def _group_of(file: str) -> str:
    text = (ROOT / file).read_text()
    arguments = " ".join(re.findall(r"def \w+\(([^)]*)\)", text))
    words = {*re.findall(r"(\w+):", text), *re.findall(r"\w+", arguments)}
    for group, fixtures in SHARED_FIXTURES.items():
        if words & fixtures:
            return group
    return file


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--require-all") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but --require-all is given: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if collector.config.getoption("--require-all") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but --require-all is given: {_reason(report.longrepr)}"
    return report


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real data that the setting ``SKYDESK_TEST_DATA`` names."""
    folder = Path(os.environ.get("SKYDESK_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data is absent: SKYDESK_TEST_DATA names no folder ({folder.name})")
    return folder


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    files = sorted(
        path for path in (ROOT / "core").rglob("*") if path.suffix in {".py", ".yaml", ".toml", ".json"}
    )
    for path in [*files, ROOT / "requirements.lock"]:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def demo_home(pytestconfig: pytest.Config) -> Path:
    """A home folder with the tiny demo built and published; read-only by convention: copy it before a change.

    It is made once for a state of the core's sources and of the lock, and kept in pytest's cache;
    the variable ``SKYDESK_TEST_DEMO`` names one that is at hand already.
    """
    if given := os.environ.get("SKYDESK_TEST_DEMO"):
        return Path(given)
    cache = pytestconfig.cache.mkdir("skydesk-demo")
    home = cache / _hash_of_sources()
    done = cache / f"{home.name}.done"
    with _locked(cache / "lock"):
        if not done.exists():
            for old in cache.iterdir():
                if old.is_dir() and old.name != "numba":
                    shutil.rmtree(old)
                elif old.suffix == ".done":
                    old.unlink()
            home.mkdir()
            run = subprocess.run(
                [skydesk_command(), "--home", str(home), "demo", "build", "--preset", "tiny"],
                env={**os.environ, "SKYDESK_HOME": str(home), "NUMBA_CACHE_DIR": str(cache / "numba")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEMO_BUILD_LIMIT_S,
                check=False,
            )
            assert run.returncode == 0, f"the tiny demo could not be built:\n{run.stdout[-6000:]}"
            done.touch()
    return home


def skydesk_command() -> str:
    """Return the path of the ``skydesk`` command of the environment that runs the tests."""
    return str(Path(sys.executable).with_name("skydesk"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium, which `make test` installs where it may."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("there is no chromium: run make tools")
    return found


@pytest.fixture
def signed_in_page(running_stack: Stack, chromium: str) -> Iterator[Page]:
    """A page of a fresh browser in which the user ``tester`` has signed in through the form."""
    password = running_stack.add_user("tester")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            page.goto(f"{running_stack.url}/auth/login")
            page.get_by_label("Name").fill("tester")
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(lambda url: "/auth/login" not in url)
            yield page
        finally:
            browser.close()


@pytest.fixture(scope="session")
def wait_for_server() -> Callable[..., None]:
    """A function that waits until a server answers, and shows its output if it dies before."""

    def wait(
        url: str,
        process: subprocess.Popen[str] | subprocess.Popen[bytes] | None = None,
        *,
        timeout_s: float = 60.0,
        log: Path | None = None,
    ) -> None:
        deadline = time.monotonic() + timeout_s
        last: object = None
        while time.monotonic() < deadline:
            if process is not None and process.poll() is not None:
                pytest.fail(f"the server ended with {process.returncode}:\n{_output_of(process, log)}")
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
                last = error
            except OSError as error:
                last = error
            time.sleep(0.1)
        pytest.fail(f"no answer from {url} within {timeout_s} s: {last}\n{_output_of(process, log)}")

    return wait


def _output_of(process: subprocess.Popen[str] | subprocess.Popen[bytes] | None, log: Path | None) -> str:
    if log is not None and log.exists():
        return log.read_text(errors="replace")[-6000:]
    if process is None or process.stdout is None or process.poll() is None:
        return ""
    text = process.stdout.read()
    return (text.decode(errors="replace") if isinstance(text, bytes) else text)[-6000:]
