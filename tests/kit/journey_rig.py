"""What journeys with real programs share: people who enrol by forms, apps put behind a running system,
upstreams that remember what they saw, and a look at which processes are left.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from demo_rig import Demo

from limen.core.secret import Secret
from limen.information.identity import totp
from limen.services.form_client import FormClient

PASSWORD = "correct horse battery staple 7"
DEADLINE_S = 60.0
POLL_S = 0.05
MARK = "LIMEN_TEST_MARK"
CA_VARIABLES = (
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)


def wait_until(what: str, holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Return once `holds`; fail with `what` at the deadline."""
    ends_at = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends_at, f"Not within {deadline_s:.0f} s: {what}"
        time.sleep(POLL_S)


# --- people ------------------------------------------------------------------------------------------


class Person:
    """Somebody with a password and an authenticator app. Each code is shown once."""

    def __init__(self, username: str, secret: str) -> None:
        self.username = username
        self._secret = Secret(secret)
        self._last_step = 0

    def code(self) -> Secret[str]:
        """Return a code that counts now and was not used: of this half minute or a neighbour."""
        found: list[int] = []

        def look() -> bool:
            now = time.time()
            step = int(now // totp.STEP_S)
            early = (
                [step - 1] if now % totp.STEP_S < totp.STEP_S / 2 else []
            )  # else it could lapse on the way
            found[:] = [one for one in (*early, step, step + 1) if one > self._last_step]
            return bool(found)

        wait_until("a code that was not used yet", look)
        self._last_step = found[0]
        return Secret(totp.code_at(self._secret, self._last_step * totp.STEP_S))


def enrol(client: FormClient, link: str, **first: str) -> Person:
    """Go through an enrolment link as a person does: password, authenticator app, recovery codes.

    `first`: what the first administrator says of themselves (username, name, email).
    """
    page = client.get(link)
    assert page.status_code == 200, page.text
    username = first.get("username") or re.search(r'name="username" value="([^"]+)"', page.text)[1]  # type: ignore[index]
    page = client.submit(page, {"password": PASSWORD, "password_again": PASSWORD, **first})
    page = client.submit(page, {"method": "totp"})
    shown = re.search(r'<p class="copyable mono">(.+?)</p>', page.text)
    assert shown is not None, page.text
    person = Person(username, re.sub(r"<[^>]*>|\s", "", shown[1]))
    page = client.submit(page, {"code": person.code().reveal()})
    assert 'id="recovery-codes"' in page.text, page.text
    page = client.submit(page, {"kept": "yes"})
    assert page.url.path == "/", page.text
    return person


def new_person(demo: Demo, username: str, *groups: str) -> Person:
    """Add a person to a running system, and enrol them."""
    with demo.client() as client:
        return enrol(client, demo.new_person(username, *groups))


def sign_in(client: FormClient, url: str, person: Person) -> Any:
    """Sign in on the way to `url`; return the page at the end."""
    return client.sign_in(url, person.username, Secret(PASSWORD), person.code)


def run_token(
    demo: Demo, person: Person, app: str, *more: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `limen token` as automation does: everything from the environment."""
    given = {
        "LIMEN_STATE": str(demo.state_dir),
        "LIMEN_USERNAME": person.username,
        "LIMEN_PASSWORD": PASSWORD,
        "LIMEN_CODE": env["LIMEN_CODE"] if "LIMEN_CODE" in env else person.code().reveal(),
    } | env
    return subprocess.run(
        [sys.executable, "-m", "limen", "token", "--app", app, *more],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **given},
    )


def make_token(demo: Demo, person: Person, app: str) -> str:
    """Return a token for one app."""
    done = run_token(demo, person, app)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- apps --------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """One request, as an upstream saw it. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = tuple[int, Mapping[str, str], bytes]


class Upstream:
    """An app on loopback that remembers what it was asked."""

    def __init__(self, answer: Callable[[Seen], Answer]) -> None:
        self.seen: list[Seen] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def any_method(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, _read_body(self))
                outer.seen.append(seen)
                status, more, body = answer(seen)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any_method

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """Read a body of known length, or in chunks as Envoy forwards one of unknown length."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        continue  # trailers
    return b"".join(parts)


def apply_bundle(demo: Demo, change: Callable[[dict[str, Any]], None], files: Mapping[str, str] = {}) -> None:
    """Change the system's own bundle as its owner would: edit `limen.yaml`, add files, apply."""
    folder = demo.state_dir / "bundle"
    content = yaml.safe_load((folder / "limen.yaml").read_text())
    change(content)
    (folder / "limen.yaml").write_text(yaml.safe_dump(content))
    for name, text in files.items():
        (folder / name).write_text(text)
    applied = demo.limen("policy", "apply", str(folder), "--no-plan", "--reason", "a journey")
    assert applied.returncode == 0, applied.stderr


def add_apps(demo: Demo, apps: Mapping[str, Any], files: Mapping[str, str] = {}) -> dict[str, str]:
    """Put apps behind the system; return their addresses once the gateway guards them."""
    apply_bundle(demo, lambda content: content["apps"].update(apps), files)
    urls = {name: f"https://{name}.{demo.ready['domain']}:{demo.port}" for name in apps}
    with demo.client() as client:
        for url in urls.values():
            wait_until(f"{url} is guarded", lambda url=url: _is_guarded(client, url))
    return urls


def _is_guarded(client: FormClient, url: str) -> bool:
    return client.http.get(url, headers={"Accept": "application/json"}).status_code == 401


def program_environment(demo: Demo, folder: Path) -> dict[str, str]:
    """Return an environment in which curl, git and pip trust the system's CA and know nothing else of us.

    Few resolvers know names below `.localhost` (RFC 6761); curl and git do, Python asks the system. So
    Python gets a resolver that knows them, as an entry in /etc/hosts would do.
    """
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(RESOLVER)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    trusted = dict.fromkeys(CA_VARIABLES, str(demo.ca_file))
    return {
        **kept,
        **trusted,
        "HOME": str(folder),
        "PYTHONPATH": str(site),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "NO_PROXY": "*",
    }


RESOLVER = """
import socket
_ask = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    return _ask("127.0.0.1" if str(host).endswith(".localhost") else host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


# --- processes ---------------------------------------------------------------------------------------


def marked_processes(mark: str) -> dict[int, str]:
    """Return every living process whose environment bears the mark, with its command line.

    A child inherits the environment, whatever its process group, its session or its parent became.
    """
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # gone meanwhile, or not ours
    return found


@contextmanager
def started(
    arguments: list[str], output: Path, *, env: Mapping[str, str], cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, as a shell does; kill what is left of it."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            arguments, stdout=sink, stderr=sink, env=dict(env), cwd=cwd, process_group=0
        )
    try:
        yield process
    finally:
        for pid in marked_processes(env[MARK]):
            _kill(pid)
        process.wait(DEADLINE_S)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
