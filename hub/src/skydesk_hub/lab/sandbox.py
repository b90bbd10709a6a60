"""What a lab sees: its root file system from parts, its ``/etc``, its environment and its limits."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skydesk_hub.account import needed_folders
from skydesk_hub.supervisor.table import Platform

__all__ = ["RELAY", "Sandbox", "find_tutorials", "lab_environment", "write_nublado"]

RELAY = str(Path(__file__).parent / "relay.py")
RELEASES = "/srv/skydesk/releases"
TMP_BYTES = 1 << 30
SYSTEM_PARTS = (
    "ssl",
    "ld.so.cache",
    "fonts",
    "localtime",
    "alternatives",
    "ca-certificates",
    "mime.types",
    "magic",
)


@dataclass(frozen=True)
class Sandbox:
    """The sandbox of one person's lab.

    Parameters
    ----------
    platform
        What is known.
    name
        The person.
    home
        The person's home folder outside.
    state
        The folder of this lab's sockets and files, outside.
    releases
        Names of the releases that the person may read.
    """

    platform: Platform
    name: str
    home: Path
    state: Path
    releases: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        """Return the bubblewrap command up to the command that runs inside."""
        inside_home = f"/home/{self.name}"
        system = [a for part in SYSTEM_PARTS for a in ("--ro-bind-try", f"/etc/{part}", f"/etc/{part}")]
        own = [
            a
            for part in ("passwd", "group", "hosts", "nublado")
            for a in ("--ro-bind", self.etc(part), f"/etc/{part}")
        ]
        code = [a for folder in self.code_folders() for a in ("--ro-bind", str(folder), str(folder))]
        argv = ["bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"]
        argv += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup-try"]
        argv += ["--hostname", "lab", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
        argv += [
            "--ro-bind",
            "/usr",
            "/usr",
            "--symlink",
            "usr/bin",
            "/bin",
            "--symlink",
            "usr/sbin",
            "/sbin",
        ]
        argv += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", *system, *own]
        # /proc/sys again read-only: harmless for an unprivileged platform, and it stays so if that ever changes.
        argv += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
        argv += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", *code]  # noqa: S108  # the sandbox's own
        # One by one: a release that is not for everybody must not be there as files either.
        argv += ["--dir", RELEASES]
        for release in self.releases:
            argv += ["--ro-bind", str(self.platform.layout.releases / release), f"{RELEASES}/{release}"]
        argv += ["--bind", str(self.home), inside_home]
        if butler := self.find_user_butler():
            argv += ["--ro-bind", str(butler), f"/srv/skydesk/users/{self.name}/butler"]
        if tutorials := find_tutorials(self.platform):
            argv += ["--ro-bind", str(tutorials), f"{inside_home}/notebooks/tutorials"]
        argv += [
            "--ro-bind",
            str(self.state / "in"),
            "/run/sky/in",
            "--bind",
            str(self.state / "out"),
            "/run/sky/out",
        ]
        argv += ["--chdir", inside_home, "--remount-ro", "/", "--", "prlimit"]
        config = self.platform.config
        return [
            *argv,
            f"--as={config.lab_address_space_mib << 20}",
            f"--nproc={config.lab_processes}",
            "--core=0",
            "--",
        ]

    def etc(self, part: str) -> str:
        """Return the path outside of a file that the lab sees in ``/etc``.

        Parameters
        ----------
        part
            Its name.
        """
        return str(self.state / "etc" / part)

    def code_folders(self) -> list[Path]:
        """Return the folders with the environment and the interpreter, bound read-only at their own paths."""
        hidden = (Path("/usr"), self.platform.layout.root)
        tutorials_and_docs = {Path(sys.prefix).parent / "tutorials", Path(sys.prefix).parent / "docs"}
        folders = set(needed_folders(self.platform.layout.root)) - tutorials_and_docs
        return sorted(f for f in folders if not any(f.is_relative_to(place) for place in hidden))

    def find_user_butler(self) -> Path | None:
        """Return the person's own Butler repository, or None when there is none yet."""
        path = self.platform.layout.users / self.name / "butler"
        return path if (path / "butler.yaml").exists() else None

    def prepare(self) -> None:
        """Make the folders of sockets and the lab's own ``/etc`` afresh."""
        shutil.rmtree(self.state, ignore_errors=True)
        for folder in (self.state / "in", self.state / "out", self.state / "etc"):
            folder.mkdir(parents=True, mode=0o700)
        self.home.mkdir(parents=True, mode=0o700, exist_ok=True)
        shell = f"{self.name}:x:1000:1000::/home/{self.name}:/bin/bash\n"
        (self.state / "etc" / "passwd").write_text(f"root:x:0:0::/:/bin/false\n{shell}")
        (self.state / "etc" / "group").write_text(f"root:x:0:\n{self.name}:x:1000:\n")
        (self.state / "etc" / "hosts").write_text("127.0.0.1 localhost lab\n")
        (self.state / "etc" / "nublado").mkdir()


def find_tutorials(platform: Platform) -> Path | None:
    """Return the folder with the tutorials, or None when there is none.

    Parameters
    ----------
    platform
        What is known.
    """
    choices = [platform.config.tutorials_dir, Path(sys.prefix).parent / "tutorials"]
    return next((folder for folder in choices if folder and folder.is_dir()), None)


def lab_environment(
    platform: Platform,
    name: str,
    token: str,
    *,
    names: Sequence[str],
    shared: Sequence[str] = (),
    releases: str,
    mounts: str,
    home: str,
) -> dict[str, str]:
    """Return what a lab's environment has beside JupyterHub's own variables.

    Parameters
    ----------
    platform
        What is known.
    name
        The person.
    token
        The lab's token.
    names
        The releases that the person may read.
    shared
        Labels of other people's repositories that the person may read.
    releases
        Folder of the releases as the lab sees it.
    mounts
        Folder of discovery and token as the lab sees it.
    home
        The person's home folder as the lab sees it.
    """
    remote = f"{platform.internal_url}/api/butler/repo"
    repositories = {label: f"{remote}/{label}/butler.yaml" for label in shared}
    repositories |= {label: f"{releases}/{label}/butler" for label in names}
    if (platform.layout.users / name / "butler" / "butler.yaml").exists():
        own = platform.layout.users if platform.single_user else Path("/srv/skydesk/users")
        repositories[f"u-{name}"] = f"{own}/{name}/butler"
    env = {
        "ACCESS_TOKEN": token,
        "BUTLER_RUBIN_ACCESS_TOKEN": token,
        "DAF_BUTLER_REPOSITORIES": json.dumps(repositories),
        "EXTERNAL_INSTANCE_URL": platform.internal_url,
        "JUPYTERHUB_ACTIVITY_URL": f"{platform.internal_url}/nb/hub/api/users/{name}/activity",
        "JUPYTERHUB_API_URL": f"{platform.internal_url}/nb/hub/api",
        "JUPYTER_CONFIG_PATH": str(Path(__file__).parent / "jupyter"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "NUBLADO_RUNTIME_MOUNTS_DIR": mounts,
        "NUMBA_CACHE_DIR": f"{home}/.cache/numba",
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "RSP_SITE_TYPE": platform.config.site_type,
        "SKYDESK_RELEASE": "demo" if "demo" in names else names[0] if names else "",
        "SKYDESK_PUBLIC_URL": platform.url,
        "SKYDESK_URL": platform.internal_url,
    }
    return env | platform.config.lab_environment


def write_nublado(platform: Platform, folder: Path, token: str, discovery: bytes | None) -> None:
    """Write the files in which ``lsst-rsp`` looks for discovery, token and address.

    Parameters
    ----------
    platform
        What is known.
    folder
        The folder that the lab sees as ``/etc/nublado``.
    token
        The lab's token.
    discovery
        The discovery document; None when there is none yet.
    """
    for name in ("discovery", "secrets", "environment"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "environment" / "EXTERNAL_INSTANCE_URL").write_text(platform.internal_url + "\n")
    path = folder / "secrets" / "token"
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    if discovery is not None:
        (folder / "discovery" / "v1.json").write_bytes(discovery)
