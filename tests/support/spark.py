"""A Spark cluster of this machine: a master, two workers and a Connect server on free ports of the loopback."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from skydesk_portal.api.app import create_app
from skydesk_portal.config import PortalSettings, load_config
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import IDENTITIES, LiveServices, free_port, serve_app

ROOT = Path(__file__).resolve().parents[2]
SPARK_HOME = ROOT / ".tools" / "spark" / "pyspark"
CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"
START_LIMIT_S = 180

_CONFIGURATION = """\
spark.master                                      {master}
spark.driver.host                                 127.0.0.1
spark.executor.memory                             {memory_mb}m
spark.executor.cores                              1
spark.cores.max                                   2
spark.sql.shuffle.partitions                      4
spark.sql.runSQLOnFiles                           false
spark.ui.port                                     {ui}
spark.authenticate                                true
spark.authenticate.secret                         {secret}
spark.connect.authenticate.token                  {token}
spark.connect.grpc.binding.address                127.0.0.1
spark.connect.grpc.binding.port                   {port}
spark.task.reaper.enabled                         true
spark.task.reaper.pollingInterval                 1s
spark.task.reaper.killTimeout                     2s
spark.ui.retainedJobs                             20
spark.ui.retainedStages                           20
spark.ui.retainedTasks                            200
spark.sql.ui.retainedExecutions                   2
spark.deploy.maxExecutorRetries                   -1
"""


def _end_with_parent() -> None:
    # Where the tests are killed nothing of the cluster stays behind.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass
class SparkCluster:
    """A running cluster.

    Parameters
    ----------
    folder
        Configuration, logs and work of its processes.
    url, token_file
        How the platform reaches it.
    master
        How its processes reach each other.
    ui_port
        Where it tells what it does.
    memory_mb
        Heap of an executor, in MB; that of the Connect server is a little larger.
    """

    folder: Path
    url: str
    master: str
    token_file: Path
    ui_port: int
    memory_mb: int = 512
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of its processes; none of them comes from the configuration of a user."""
        return {
            "PATH": os.environ["PATH"],
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            # The Connect server, too, takes this for its own memory.
            "SPARK_DAEMON_MEMORY": f"{self.memory_mb + 128}m" if name == "connect" else "160m",
            "JDK_JAVA_OPTIONS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError -Djava.net.preferIPv4Stack=true",
        }

    def start(self, name: str, *arguments: str) -> None:
        """Start one process in a group of its own."""
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [str(SPARK_HOME / "bin" / "spark-class"), *arguments],
            env=self.environment(name),
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )

    def start_worker(self, name: str) -> None:
        """Start one more worker of one core."""
        size, place = (
            ("-c", "1", "-m", f"{self.memory_mb + 256}m"),
            ("--host", "127.0.0.1", "--webui-port", "0"),
        )
        worker = (*size, *place, "-d", str(self.folder / name))
        self.start(name, "org.apache.spark.deploy.worker.Worker", *worker, self.master)

    def start_connect(self) -> None:
        """Start the server that the platform talks to."""
        self.start("connect", "org.apache.spark.deploy.SparkSubmit", "--class", CONNECT, "spark-internal")
        self.wait_for_port(int(self.url.rpartition(":")[2]), "connect")

    def wait_for_port(self, port: int, name: str) -> None:
        """Wait until a process listens."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            assert self.processes[name].poll() is None, self.read_log(name)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                return
            time.sleep(0.1)
        pytest.fail(f"{name} does not listen:\n{self.read_log(name)}")

    def read_log(self, name: str) -> str:
        """Return the end of what a process wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def stop(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process and all that it started."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait(timeout=30)

    def list_executors(self) -> list[psutil.Process]:
        """Return the processes that do the work."""
        found = []
        for name, process in self.processes.items():
            if name.startswith("worker"):
                for child in psutil.Process(process.pid).children(recursive=True):
                    # A killed one stays a zombie until its worker looks.
                    with contextlib.suppress(psutil.Error):
                        found += (
                            [child] if "CoarseGrainedExecutorBackend" in " ".join(child.cmdline()) else []
                        )
        return found

    def count_running(self) -> int:
        """Return how many jobs and tasks the cluster says it is running; a task may outlive its job."""
        jobs = self._read("jobs?status=running")
        return len(jobs) + sum(executor["activeTasks"] for executor in self._read("executors"))

    def _read(self, what: str) -> list[dict[str, Any]]:
        base = f"http://127.0.0.1:{self.ui_port}/api/v1/applications"
        with urllib.request.urlopen(base, timeout=30) as answer:
            (application,) = json.load(answer)
        with urllib.request.urlopen(f"{base}/{application['id']}/{what}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def stop_all(self) -> None:
        """End everything."""
        for name in list(self.processes):
            self.stop(name)


@contextlib.contextmanager
def run_cluster(folder: Path, memory_mb: int = 512) -> Iterator[SparkCluster]:
    """Start a cluster in a folder, and stop it."""
    ports = free_port(), free_port(), free_port()
    token, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    (folder / "conf").mkdir(mode=0o700)
    words = {"port": ports[1], "ui": ports[2], "token": token, "secret": secret, "memory_mb": memory_mb}
    text = _CONFIGURATION.format(master=f"spark://127.0.0.1:{ports[0]}", **words)
    defaults = folder / "conf" / "spark-defaults.conf"
    defaults.touch(mode=0o600)
    defaults.write_text(text)
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token + "\n")
    master, url = f"spark://127.0.0.1:{ports[0]}", f"sc://127.0.0.1:{ports[1]}"
    cluster = SparkCluster(folder, url, master, token_file, ports[2], memory_mb)
    try:
        cluster.start(
            "master",
            "org.apache.spark.deploy.master.Master",
            *("--host", "127.0.0.1", "--port", str(ports[0]), "--webui-port", "0"),
        )
        cluster.wait_for_port(ports[0], "master")
        cluster.start_worker("worker-1")
        cluster.start_worker("worker-2")
        cluster.start_connect()
        yield cluster
    finally:
        cluster.stop_all()


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """A master, two workers and a Connect server that asks for a token."""
    if shutil.which("java") is None or not SPARK_HOME.is_dir():
        pytest.skip("there is no Spark: run make tools")
    with run_cluster(tmp_path_factory.mktemp("spark")) as cluster:
        yield cluster


@dataclass
class DistributedServices(LiveServices):
    """The services over a release whose queries all go to a cluster, and what to start a worker with."""

    cluster: SparkCluster | None = None
    portal: dict[str, object] = field(default_factory=dict)


def distribute(cluster: SparkCluster, home: Path, local_rows: int, **more: object) -> PortalSettings:
    """Return the settings of services whose release ``demo`` a cluster reads."""
    section = {
        "url": cluster.url,
        "token_file": str(cluster.token_file),
        "releases": {"demo": str(home / "releases" / "demo")},
        "local_rows": local_rows,
    }
    (home / "config.yaml").write_text(json.dumps({"portal": {"distributed": section, **more}}))
    return load_config({"SKYDESK_HOME": str(home), "SKYDESK_URL": "http://services.example"})


@pytest.fixture(scope="session")
def distributed_home(synthetic_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own with the synthetic release."""
    home = tmp_path_factory.mktemp("distributed")
    for name in ("releases", "run"):
        (home / name).mkdir()
    (home / "releases" / "demo").symlink_to(synthetic_home / "releases" / "demo")
    return home


@pytest.fixture(scope="session")
def distributed_services(
    spark_cluster: SparkCluster, distributed_home: Path
) -> Iterator[DistributedServices]:
    """The api application on a free port; every query that Spark can answer goes to the cluster."""
    settings = distribute(
        spark_cluster, distributed_home, 0, lease_seconds=3.0, cache_seconds=0, sync_seconds=280
    )
    factories: list[Factory] = []

    def make(url: str) -> object:
        factories.append(
            create_factory(settings.model_copy(update={"url": url}), FakeIdentityClient(IDENTITIES))
        )
        return create_app(settings, factories[0])

    with serve_app(make, "/api/health") as url:
        portal = json.loads((distributed_home / "config.yaml").read_text())["portal"]
        services = DistributedServices(
            url, distributed_home, factories[0], cluster=spark_cluster, portal=portal
        )
        yield services
        services.stop_workers()
    factories[0].close()
