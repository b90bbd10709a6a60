"""Break-out attempts from a kernel inside a lab: nothing of the platform or of other people is reachable."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.lab import Kernel, open_kernel
from support.stack import Stack


@pytest.fixture(scope="module")
def kernel(bare_stack: Stack) -> Iterator[Kernel]:
    with open_kernel(bare_stack, "mallory") as kernel:
        yield kernel


def attempt(kernel: Kernel, body: str) -> str:
    """Run statements in the kernel; return 'done' or the kind of refusal."""
    lines = "\n".join("    " + line for line in body.splitlines())
    return kernel.run(
        f"try:\n{lines}\n    print('done')\nexcept BaseException as e:\n    print(type(e).__name__)"
    ).strip()


def test_files_of_the_platform_and_of_others_do_not_exist(bare_stack: Stack, kernel: Kernel) -> None:
    other = bare_stack.home / "users" / "vera" / "home"
    other.mkdir(parents=True, exist_ok=True)
    (other / "diary.txt").write_text("private")
    for name in (
        "secrets.json",
        "hub.sqlite",
        "identity.sqlite",
        "run/supervisor.sock",
        "run/hub.sock",
        "run/epoch",
        "users",
    ):
        assert (
            kernel.run(f"import os; print(os.path.exists({str(bare_stack.home / name)!r}))").strip()
            == "False"
        ), name
    assert (
        kernel.run(
            "import os; print(sorted(os.listdir('/home')), sorted(os.listdir('/srv/skydesk')))"
        ).strip()
        == "['mallory'] ['releases']"
    )
    assert (
        kernel.run("import os; print(os.path.exists('/etc/shadow'), os.path.exists('/var/lib'))").strip()
        == "False False"
    )


def test_only_own_processes_are_seen_and_touched(bare_stack: Stack, kernel: Kernel) -> None:
    seen = int(kernel.run("import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))"))
    assert seen < 12
    hub = bare_stack.status()["services"]["hub"]["pid"]
    assert attempt(kernel, f"import os; os.kill({hub}, 0)") == "ProcessLookupError"
    assert attempt(kernel, f"open('/proc/{hub}/environ').read()") == "FileNotFoundError"


@pytest.mark.parametrize(
    "path",
    [
        "/usr/x",
        "/x",
        "/etc/x",
        "/etc/passwd",
        "/srv/skydesk/releases/x",
        "/run/sky/in/x",
        "/home/x",
        "/proc/sys/kernel/core_pattern",
    ],
)
def test_nothing_but_the_own_home_can_be_written(kernel: Kernel, path: str) -> None:
    assert attempt(kernel, f"open({path!r}, 'w')") in ("OSError", "PermissionError")


def test_the_environment_is_read_only(kernel: Kernel) -> None:
    where = "import skydesk_hub, os; open(os.path.join(os.path.dirname(skydesk_hub.__file__), 'x'), 'w')"
    assert attempt(kernel, where) == "OSError"
    assert attempt(kernel, "import sys; open(sys.prefix + '/x', 'w')") == "OSError"
    assert attempt(kernel, "open('notes.txt', 'w').write('mine')") == "done"


def test_no_new_namespace_mount_or_right(kernel: Kernel) -> None:
    assert attempt(kernel, "import os; os.unshare(os.CLONE_NEWUSER)") in ("OSError", "PermissionError")
    assert attempt(kernel, "import os; os.unshare(os.CLONE_NEWNS)") == "PermissionError"
    assert attempt(kernel, "import os; os.setuid(0)") in ("OSError", "PermissionError")
    status = kernel.run("print(open('/proc/self/status').read())")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_real_identity_outside_is_not_root(bare_stack: Stack, kernel: Kernel) -> None:
    mine = kernel.run("import os; print(open('/proc/self/stat').read().split()[1])").strip()
    assert mine
    pid = bare_stack.status()["pid"]
    assert Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] != "0"


def test_the_network_ends_at_the_relay(bare_stack: Stack, kernel: Kernel) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert (
            attempt(kernel, f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)")
            == "ConnectionRefusedError"
        )
    assert attempt(kernel, "import socket; socket.create_connection(('192.0.2.1', 80), 2)") == "OSError"
    ports = kernel.run(
        "rows = [l.split() for l in open('/proc/net/tcp').readlines()[1:]]\n"
        "print(len([r for r in rows if r[3] == '0A']))"
    )
    assert int(ports) <= 4, "the lab, the relay and what the kernel itself opens"


def test_the_relay_lets_through_what_a_lab_needs_and_nothing_else(bare_stack: Stack, kernel: Kernel) -> None:
    code = (
        "import httpx, os\n"
        "base = os.environ['EXTERNAL_INSTANCE_URL']\n"
        "auth = {'Authorization': 'Bearer ' + os.environ['ACCESS_TOKEN']}\n"
        "def get(path): return httpx.get(base + path, headers=auth).status_code\n"
    )
    kernel.run(code)
    assert kernel.run("print(base)").strip() == bare_stack.url
    assert kernel.run("print(get('/nb/hub/api/user'), get('/auth/api/v1/user-info'))").strip() == "200 200"
    for path in (
        "/",
        "/auth/login",
        "/status",
        "/nb/hub/home",
        "/nb/user/vera/lab",
        "/portal/app/",
        "/docs/",
    ):
        assert kernel.run(f"print(get({path!r}))").strip() == "403", path
    raw = (
        "import socket, urllib.parse\n"
        "def raw(head):\n"
        "    s = socket.create_connection(('127.0.0.1', urllib.parse.urlsplit(base).port)); s.settimeout(5)\n"
        "    s.sendall(head); out = b''\n"
        "    try:\n"
        "        while d := s.recv(4096): out += d\n"
        "    except OSError: pass\n"
        "    return out\n"
    )
    kernel.run(raw)
    for target in (
        "/api/../auth/login",
        "/api/%2e%2e/auth/login",
        "/api//../auth/login",
        "/api/%252e%252e/x",
        "http://127.0.0.1/auth/login",
        "/api\\\\..\\\\auth",
    ):
        got = kernel.run(f"print(raw(b'GET {target} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')[:12])").strip()
        assert got == "b'HTTP/1.1 403'", (target, got)
    smuggled = (
        "b'POST /nb/hub/api/user HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n'"
        "b'Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET /status HTTP/1.1\\r\\n\\r\\n'"
    )
    assert kernel.run(f"print(raw({smuggled}))").strip() == "b''"
    pipelined = (
        "b'GET /nb/hub/api/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET /status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'"
    )
    assert kernel.run(f"print(raw({pipelined}).count(b'HTTP/1.1 '))").strip() == "1"


def test_the_own_token_cannot_act_on_others(bare_stack: Stack, kernel: Kernel) -> None:
    bare_stack.token("vera")
    code = (
        "import httpx, os\n"
        "base = os.environ['EXTERNAL_INSTANCE_URL'] + '/nb/hub/api'\n"
        "auth = {'Authorization': 'Bearer ' + os.environ['ACCESS_TOKEN']}\n"
        "print([httpx.request(m, base + p, headers=auth).status_code for m, p in [('GET', '/users'), ('GET', '/users/vera'), "
        "('POST', '/users/vera/tokens'), ('POST', '/users/vera/server'), ('POST', '/shutdown'), ('GET', '/proxy')]])"
    )
    assert set(json.loads(kernel.run(code))) <= {403, 404}


def test_a_swapped_socket_leads_nowhere(bare_stack: Stack, kernel: Kernel) -> None:
    """The lab replaces its socket by a link to the hub's: the outside half must not follow it."""
    target = bare_stack.home / "run" / "hub.sock"
    # From inside, the link's target does not exist; it would be resolved outside.
    kernel.run(
        "import os; os.rename('/run/sky/out/lab.sock', '/run/sky/out/kept')\n"
        f"os.symlink({str(target)!r}, '/run/sky/out/lab.sock')"
    )
    try:
        answer = httpx.get(f"{bare_stack.url}/nb/user/mallory/hub/health", timeout=10)
        assert answer.status_code == 503
    finally:
        kernel.run(
            "import os; os.unlink('/run/sky/out/lab.sock'); os.rename('/run/sky/out/kept', '/run/sky/out/lab.sock')"
        )


def test_forks_and_address_space_are_limited(kernel: Kernel) -> None:
    code = (
        "import os, signal, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "pids = []\n"
        "try:\n"
        "    for _ in range(2000):\n"
        "        pid = os.fork()\n"
        "        if pid == 0: signal.pause()\n"
        "        pids.append(pid)\n"
        "except BlockingIOError: pass\n"
        "for pid in pids: os.kill(pid, 9); os.waitpid(pid, 0)\n"
        "print(len(pids))"
    )
    assert int(kernel.run(code)) < 520
    assert attempt(kernel, "x = bytearray(60 << 30)") == "MemoryError"


@pytest.mark.requirement("DMS-NB-REQ-0003")
def test_another_person_cannot_use_the_lab(bare_stack: Stack, kernel: Kernel) -> None:
    answer = bare_stack.browser("vera").get("/nb/user/mallory/api/status")
    assert answer.status_code == 403
    assert bare_stack.client("vera").get("/nb/user/mallory/api/status").status_code == 403


def test_memory_beyond_the_limit_ends_the_largest_process(bare_stack: Stack) -> None:
    bare_stack.add_user("glutton")
    bare_stack.command("user", "quota", "glutton", "--memory-mib", "700")
    with open_kernel(bare_stack, "glutton") as kernel:
        code = (
            "import subprocess, sys\n"
            "code = 'import time; x = bytearray(1200 << 20)\\n'\n"
            "code += 'for i in range(0, len(x), 4096): x[i] = 1\\n'\n"
            "code += 'time.sleep(60)'\n"
            "print(subprocess.run([sys.executable, '-c', code]).returncode)"
        )
        assert kernel.run(code).strip() == "-9"
        assert kernel.run("print('still here')").strip() == "still here"


def test_lab_files_and_environment(bare_stack: Stack, kernel: Kernel) -> None:
    token = kernel.run("print(open('/etc/nublado/secrets/token').read())").strip()
    answer = httpx.get(
        f"{bare_stack.url}/nb/hub/api/user", headers={"Authorization": f"Bearer {token}"}
    ).json()
    assert answer["name"] == "mallory"
    names = {s.split("!")[0] for s in answer["scopes"]}
    assert {"custom:skydesk:read:tap", "custom:skydesk:exec:batch"} <= names
    environment = kernel.run("import os; print('\\n'.join(os.environ))").split()
    assert {"ACCESS_TOKEN", "EXTERNAL_INSTANCE_URL", "RSP_SITE_TYPE", "DAF_BUTLER_REPOSITORIES"} <= set(
        environment
    )
    assert not [
        name
        for name in environment
        if "SECRET" in name or name in ("JUPYTERHUB_CRYPT_KEY", "CONFIGPROXY_AUTH_TOKEN")
    ]
    assert (
        kernel.run("import getpass, os; print(getpass.getuser(), os.getcwd())").strip()
        == "mallory /home/mallory"
    )


def test_killing_the_sandbox_from_outside_leaves_nothing(bare_stack: Stack) -> None:
    with open_kernel(bare_stack, "ephemeral") as kernel:
        assert kernel.run("print(6 * 7)").strip() == "42"
        client = bare_stack.browser("ephemeral")
        xsrf = (
            next(c.value for c in client.cookies.jar if c.name == "_xsrf")
            if client.get("/nb/hub/home")
            else ""
        )
        stopped = client.delete("/nb/hub/api/users/ephemeral/server", headers={"X-XSRFToken": str(xsrf)})
        assert stopped.status_code in (202, 204), stopped.text
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and find_by_argument("/labs/ephemeral/"):
            time.sleep(0.1)
        assert not find_by_argument("/labs/ephemeral/")
        with contextlib.suppress(Exception):
            kernel.socket.close()


def find_by_argument(text: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
    return found
