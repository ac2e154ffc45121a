"""JupyterLab as it comes from PyPI, behind Limen: pages, contents, kernels and terminals work unmodified."""

import json
import os
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from demo_rig import Demo
from journey_rig import PASSWORD, Person, add_apps, new_person, sign_in, wait_until
from live_rig import Refused, WebSocket, events, ordered, wait_streams

from limen.services.form_client import FormClient
from limen.services.system import free_port

pytestmark = pytest.mark.envoy

VERSION = "4.6.6"
CACHE = Path(__file__).parents[2] / ".pytest_cache" / f"jupyterlab-{VERSION}"
LEARNERS = """
@id("contractors-read-jupyter") @reason("Contractors look at notebooks.")
permit(principal in Group::"contractors", action == Action::"read", resource in App::"jupyter");
"""


class Lab(NamedTuple):
    """A running JupyterLab: where it is behind Limen, where it is itself, its folder, its own token."""

    url: str
    direct: str
    folder: Path
    token: str

    def own(self) -> dict[str, str]:
        """Return Jupyter's own credential, as its API clients send it."""
        return {"Authorization": f"token {self.token}"}


@pytest.fixture(scope="module")
def jupyter() -> Path:
    """Install JupyterLab into a virtual environment that later runs find again."""
    program = CACHE / "bin" / "jupyter-lab"
    if not program.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(CACHE)],
            [uv, "pip", "install", "--quiet", "--python", str(CACHE), f"jupyterlab=={VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode != 0:
                pytest.skip(f"JupyterLab cannot be installed: {done.stderr.strip()[-200:]}")
    return program


@pytest.fixture(scope="module")
def lab(demo: Demo, jupyter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    (folder / "hello.txt").write_text("behind the threshold\n")
    port, token = free_port("127.0.0.1"), secrets.token_hex(16)
    command = [
        str(jupyter),
        "--no-browser",
        "--allow-root",
        "--ServerApp.allow_remote_access=True",  # its own switch for use behind a proxy
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    direct = f"http://127.0.0.1:{port}"
    try:
        wait_until("JupyterLab answers", lambda: answers(f"{direct}/api") or process.poll() is not None, 120)
        assert process.poll() is None, (home / "log").read_text()
        app = {"upstream": direct, "allow": ["group:staff"]}
        files = {"policies/entitlements/jupyter.cedar": LEARNERS}
        yield Lab(add_apps(demo, {"jupyter": app}, files)["jupyter"], direct, folder, token)
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def jane(demo: Demo) -> Person:
    return new_person(demo, "jane", "staff")


@pytest.fixture(scope="module")
def browser(demo: Demo, lab: Lab, jane: Person) -> Iterator[FormClient]:
    """Jane's browser, signed in at Limen and then at Jupyter's own login page."""
    with demo.client() as client:
        page = sign_in(client, f"{lab.url}/lab", jane)
        assert page.url.path == "/login", page.text
        assert str(page.url).startswith(lab.url), "this is Jupyter's login page, not Limen's"
        page = client.submit(page, {"password": lab.token})
        assert (page.status_code, page.url.path) == (200, "/lab"), page.text
        yield client


def api(client: FormClient, lab: Lab, method: str, path: str, **options: Any) -> httpx.Response:
    """Call Jupyter's API as its own page does: same origin, with its anti-forgery token."""
    xsrf = next((one.value for one in client.http.cookies.jar if one.name == "_xsrf"), "")
    headers = {
        "Accept": "application/json",
        "Origin": lab.url,
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
        "X-XSRFToken": xsrf or "",
        **options.pop("headers", {}),
    }
    return client.http.request(method, f"{lab.url}/api/{path}", headers=headers, **options)


def test_its_pages_and_static_files_are_those_that_it_serves_itself(browser: FormClient, lab: Lab) -> None:
    page = browser.get(f"{lab.url}/lab/tree/hello.txt")
    assert page.status_code == 200
    assert "JupyterLab" in page.text
    scripts = re.findall(r'src="(/[^"]+\.js)[^"]*"', page.text)
    assert scripts
    for path in (*scripts, "/static/favicons/favicon.ico"):
        through = browser.http.get(f"{lab.url}{path}")
        direct = httpx.get(f"{lab.direct}{path}", trust_env=False, headers=lab.own())
        assert (through.status_code, through.content) == (200, direct.content), path
        assert through.headers["content-type"] == direct.headers["content-type"]


def test_the_contents_api_reads_and_writes_in_the_name_of_who_is_signed_in(
    browser: FormClient, lab: Lab, demo: Demo
) -> None:
    listing = api(browser, lab, "GET", "contents")
    assert "hello.txt" in {entry["name"] for entry in listing.json()["content"]}
    assert api(browser, lab, "GET", "contents/hello.txt").json()["content"] == "behind the threshold\n"

    note = {"type": "file", "format": "text", "content": "x" * 1_000_000}
    made = api(browser, lab, "PUT", "contents/note.txt", json=note)
    assert made.status_code == 201, made.text
    assert (lab.folder / "note.txt").stat().st_size == 1_000_000
    assert len(api(browser, lab, "GET", "contents/note.txt").json()["content"]) == 1_000_000
    assert api(browser, lab, "PATCH", "contents/note.txt", json={"path": "renamed.txt"}).status_code == 200
    assert api(browser, lab, "DELETE", "contents/renamed.txt").status_code == 204
    assert {path.name for path in lab.folder.glob("*.txt")} == {"hello.txt"}

    rows = demo.decisions(subject="jane", resource="jupyter", text="/api/contents/note.txt")
    assert {(row["method"], row["action"], row["verdict"]) for row in rows} == {
        ("PUT", "write", "allow"),
        ("GET", "read", "allow"),
        ("PATCH", "write", "allow"),
    }


def test_who_may_only_read_cannot_write_whatever_jupyter_would_say(demo: Demo, lab: Lab) -> None:
    ken = new_person(demo, "ken", "contractors")
    with demo.client() as client:
        sign_in(client, f"{lab.url}/login", ken)
        # Jupyter's own token beside Limen's cookie: each is read by whom it is for.
        client.http.headers.update(lab.own())
        assert api(client, lab, "GET", "contents/hello.txt").status_code == 200
        note = {"type": "file", "format": "text", "content": "mine"}
        refused = api(client, lab, "PUT", "contents/ken.txt", json=note)
        assert (refused.status_code, refused.json()["code"]) == (403, "NO_PERMIT")
        assert not (lab.folder / "ken.txt").exists()


def live(demo: Demo, client: FormClient, lab: Lab, path: str) -> WebSocket:
    """Open a WebSocket as Jupyter's own page does."""
    request = client.http.build_request("GET", f"{lab.url}/{path}")
    headers = {"Origin": lab.url, "Cookie": request.headers["cookie"]}
    return WebSocket(demo, f"{lab.url}/{path}", headers)


def run_cell(kernel: WebSocket, code: str) -> str:
    """Run code in a kernel, by Jupyter's messaging protocol; return what it printed."""
    message = uuid.uuid4().hex
    header = {
        "msg_id": message,
        "msg_type": "execute_request",
        "session": "s",
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    kernel.send(json.dumps({**request, "channel": "shell"}))
    printed = ""
    while (text := kernel.receive()) is not None:
        told = json.loads(text)
        if told["parent_header"].get("msg_id") != message:
            continue
        if told["msg_type"] == "stream":
            printed += told["content"]["text"]
        elif told["msg_type"] == "status" and told["content"]["execution_state"] == "idle":
            return printed
    raise AssertionError(f"the kernel's connection ended after {printed!r}")


def test_a_kernel_runs_a_cell_and_a_terminal_a_command_and_both_end_with_the_persons_access(
    browser: FormClient, lab: Lab, demo: Demo
) -> None:
    kernel_id = api(browser, lab, "POST", "kernels").json()["id"]
    terminal = api(browser, lab, "POST", "terminals").json()["name"]
    with (
        live(demo, browser, lab, f"api/kernels/{kernel_id}/channels?session_id=s") as kernel,
        live(demo, browser, lab, f"terminals/websocket/{terminal}") as shell,
    ):
        assert run_cell(kernel, "print('six times seven is', 6 * 7)") == "six times seven is 42\n"
        shell.send(json.dumps(["stdin", "echo the-answer-is-$((6*7))\r"]))
        seen = ""
        while "the-answer-is-42" not in seen:
            told = json.loads(shell.receive() or "null")
            assert told is not None, f"the terminal ended after {seen!r}"
            seen += told[1] if told[0] == "stdout" else ""
        rows = wait_streams(demo, 2, user="jane", resource="jupyter")
        assert {row["protocol"] for row in rows} == {"websocket"}

        with ThreadPoolExecutor(2) as readers:
            reading = [readers.submit(one.read_to_end) for one in (kernel, shell)]
            ordered(demo, "user", "suspend", "jane", "--reason", "a test")
            ends = [one.result() for one in reading]
    (suspended,) = events(demo, "person.suspended", target="jane")
    took = [at - suspended["at"] for at in ends]
    print("Jupyter's WebSockets ended in ms:", [round(one * 1000) for one in took])
    assert max(took) < 1.0
    with pytest.raises(Refused) as refused:
        live(demo, browser, lab, f"api/kernels/{kernel_id}/channels")
    assert refused.value.status == 401, "her sessions have ended"
    kernels = httpx.get(f"{lab.direct}/api/kernels", trust_env=False, headers=lab.own()).json()
    assert [one["id"] for one in kernels] == [kernel_id], "what it runs goes on; only she is out"
    ordered(demo, "user", "release", "jane", "--reason", "a test")


def test_without_a_limen_session_jupyters_own_token_opens_nothing(demo: Demo, lab: Lab) -> None:
    with demo.client() as client:
        assert api(client, lab, "GET", "contents", headers=lab.own()).status_code == 401
        page = client.get(f"{lab.url}/lab?token={lab.token}")
        assert str(page.url).startswith(demo.auth_url)
        assert PASSWORD not in page.text
