"""The two ways a lab is started: inside a sandbox, or as a plain process for one local person."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from jupyterhub.spawner import SimpleLocalProcessSpawner

from skydesk_hub.errors import HubError
from skydesk_hub.identity.store import Store
from skydesk_hub.lab.local_discovery import write_start_file
from skydesk_hub.lab.sandbox import RELAY, RELEASES, Sandbox, lab_environment, write_nublado
from skydesk_hub.layout import find_releases
from skydesk_hub.supervisor.table import Platform
from skydesk_hub.wire import request

__all__ = ["BubblewrapSpawner", "LocalSpawner"]

LAB_ARGS = [
    "--KernelManager.transport=ipc",  # a kernel on TCP is open to everybody on the machine
    "--LabApp.news_url=None",
    "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    # Their imports cost seconds of every start: no language server is installed, Panel runs in the portal.
    "--ServerApp.jpserver_extensions={'jupyter_lsp': False, 'panel.io.jupyter_server_extension': False}",
    "--ServerApp.terminado_settings={'shell_command': ['/bin/bash', '-l']}",
]


class LabSpawner(SimpleLocalProcessSpawner):
    """What both spawners share: environment, discovery, log, and which labs are still ours."""

    @property
    def platform(self) -> Platform:
        """What the supervisor told the hub."""
        return Platform.from_environment()

    @property
    def user_name(self) -> str:
        """The person."""
        return str(self.user.name)

    @property
    def user_home(self) -> Path:
        """The person's home folder, outside."""
        return self.platform.layout.users / self.user_name / "home"

    @property
    def state_folder(self) -> Path:
        """The folder of this lab's sockets and files, outside."""
        return self.platform.layout.run / "labs" / self.user_name

    @property
    def visible_releases(self) -> tuple[str, ...]:
        """Names of the releases that the person may read."""
        # The hub learns groups when a person signs in; the provider knows those of this moment.
        known = Store(self.platform.layout.identity_db).find_user(self.user_name)
        named = known.groups if known is not None else [group.name for group in self.user.groups]
        groups = None if self.user.admin else named
        return tuple(find_releases(self.platform.layout.root, groups))

    shared_repositories: tuple[str, ...] = ()
    """Labels of other people's repositories that the person may read, known once the lab starts."""

    def note_shared(self, discovery: bytes | None) -> bytes | None:
        """Take the shared repositories from the discovery document, which is returned."""
        try:
            labels = json.loads(discovery or b"{}").get("butler_repositories", {})
        except (ValueError, AttributeError):
            labels = {}
        self.shared_repositories = tuple(label for label in labels if label != f"u-{self.user_name}")
        return discovery

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Add the person to an environment; no account of the machine is needed."""
        return env | {"USER": self.user_name, "LOGNAME": self.user_name, "SHELL": "/bin/bash"}

    def make_preexec_fn(self, name: str) -> Any:
        """Return the hook of the new process: none, so the platform's account stays."""
        return None

    def get_state(self) -> dict[str, Any]:
        """Return what is kept about a running lab, with the start of the platform it belongs to."""
        return {**super().get_state(), "run_id": self.platform.run_id}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a running lab, unless it belonged to an earlier start of the platform."""
        super().load_state(state)
        if (
            state.get("run_id") != self.platform.run_id
        ):  # it ended with its platform; the pid may be somebody else's
            self.pid = 0

    async def find_discovery(self) -> bytes | None:
        """Return the discovery document as the person may see it, or None while the API is not up."""
        api = self.platform.layout.socket("api")
        try:
            # With the lab's token it names also the releases that not everybody may read.
            answer = await request(api, "GET", "/repertoire/discovery", token=self.api_token)
            if answer.status != 200:
                answer = await request(api, "GET", "/repertoire/discovery", timeout_s=2)
        except (OSError, TimeoutError, HubError) as error:
            self.log.warning("no discovery document for %s: %r", self.user_name, error)
            return None
        return answer.body if answer.status == 200 else None

    def seed_home(self) -> None:
        """Give a new home folder the compiled kernels, so that the first call does not compile."""
        source = self.platform.layout.root / "cache" / "numba"
        target = self.user_home / ".cache" / "numba"
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target, copy_function=shutil.copy2)

    def open_log(self) -> int:
        """Send the lab's output to a file of its own and return the descriptor."""
        folder = self.platform.layout.logs / "labs"
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(
            folder / f"{self.user_name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        self.popen_kwargs = {
            "stdin": subprocess.DEVNULL,
            "stdout": handle,
            "stderr": handle,
            "start_new_session": True,
            "cwd": str(self.platform.layout.root),
        }
        return handle

    async def launch(self) -> tuple[str, int]:
        """Start the process and forget the log's descriptor here."""
        self.open_log()
        try:
            return await super().start()
        finally:
            os.close(int(str(self.popen_kwargs["stdout"])))


class BubblewrapSpawner(LabSpawner):
    """Starts labs in a sandbox with a private network; the relay is the only way in and out."""

    def lab_memory_bytes(self) -> int:
        """Return the memory this person's lab may use."""
        user = Store(self.platform.layout.identity_db).find_user(self.user_name)
        return ((user.memory_mib if user else None) or self.platform.config.lab_memory_mib) << 20

    def get_env(self) -> dict[str, str]:
        """Return the environment inside the sandbox."""
        home = f"/home/{self.user_name}"
        env = super().get_env() | lab_environment(
            self.platform,
            self.user_name,
            self.api_token,
            names=self.visible_releases,
            shared=self.shared_repositories,
            releases=RELEASES,
            mounts="/etc/nublado",
            home=home,
        )
        env |= {
            "HOME": home,
            "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",  # noqa: S108  # the sandbox's own
            "MEM_LIMIT": str(self.lab_memory_bytes()),
        }
        return env

    def get_args(self) -> list[str]:
        """Return no arguments: the relay's files hold the commands."""
        return []

    async def start(self) -> tuple[str, int]:
        """Make the sandbox's folders and files and start the relay's outside half."""
        platform = self.platform
        box = Sandbox(platform, self.user_name, self.user_home, self.state_folder, self.visible_releases)
        box.prepare()
        self.seed_home()
        write_nublado(
            platform,
            box.state / "etc" / "nublado",
            self.api_token,
            self.note_shared(await self.find_discovery()),
        )
        self.port = pick_port()
        server = [sys.executable, "-m", "skydesk_hub.lab.run", "server", *LAB_ARGS, *super().get_args()]
        web_port = platform.port
        inside = {"port": self.port, "web_port": web_port, "argv": server}
        (box.state / "in" / "inside.json").write_text(json.dumps(inside))
        argv = [*box.argv(), sys.executable, RELAY, "inside", "/run/sky/in/inside.json"]
        base = f"/nb/user/{self.user_name}"
        allowed = ["/api", "/repertoire", "/files", "/reg", "/auth/api/v1", "/portal/app/views"]
        allowed += ["/nb/hub/api", base]
        outside = {
            "port": self.port,
            "lab": str(box.state / "out" / "lab.sock"),
            "web_socket": str(box.state / "in" / "web.sock"),
            "web": [platform.internal_url.removeprefix("http://").rpartition(":")[0], web_port],
            "allowed": allowed,
            "lifeline": str(platform.layout.run / "lifeline.sock"),
            "memory_bytes": self.lab_memory_bytes(),
            "argv": argv,
        }
        (box.state / "outside.json").write_text(json.dumps(outside))
        self.cmd = [sys.executable, RELAY, "outside", str(box.state / "outside.json")]
        return await self.launch()


class LocalSpawner(LabSpawner):
    """Starts the lab of the one local person as a plain process, without isolation."""

    def get_env(self) -> dict[str, str]:
        """Return the lab's environment: the person's own, with the platform's variables."""
        platform = self.platform
        env = super().get_env() | lab_environment(
            platform,
            self.user_name,
            self.api_token,
            names=self.visible_releases,
            shared=self.shared_repositories,
            releases=str(platform.layout.releases),
            mounts=str(self.state_folder / "nublado"),
            home=str(self.user_home),
        )
        return env | {"HOME": str(self.user_home), "JUPYTER_RUNTIME_DIR": str(self.state_folder / "rt")}

    async def start(self) -> tuple[str, int]:
        """Start the server for the one person; anybody else is refused."""
        if self.user_name != self.platform.single_user:
            raise PermissionError(f"this platform serves {self.platform.single_user} only")
        self.user_home.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.seed_home()
        nublado = self.state_folder / "nublado"
        write_nublado(self.platform, nublado, self.api_token, self.note_shared(await self.find_discovery()))
        write_start_file(self.user_home, nublado)
        self.cmd = [sys.executable, "-m", "skydesk_hub.lab.run", "server"]
        self.args = [*LAB_ARGS, *(["--allow-root"] if os.geteuid() == 0 else [])]
        return await self.launch()


def pick_port() -> int:
    """Return a port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
