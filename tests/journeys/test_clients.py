"""Programs without a browser: `limen token`, then curl and pip, with the token in each of its places."""

import ensurepip
import hashlib
import json
import shutil
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from demo_rig import Demo
from journey_rig import (
    Answer,
    Seen,
    Upstream,
    add_apps,
    make_token,
    new_person,
    program_environment,
    run_token,
    wait_until,
)

from limen.services.demo.apps import fetch_keys
from limen.services.demo.identity import HEADER, Verifier

pytestmark = pytest.mark.envoy

PACKAGE = "limen_journey_sample"
WHEEL = f"{PACKAGE}-1.0-py3-none-any.whl"


class Behind(NamedTuple):
    """What a test works with: an app behind the demo, and a token of pat, who is of staff."""

    demo: Demo
    url: str
    upstream: Upstream
    token: str
    env: dict[str, str]

    def curl(self, *arguments: str, url: str = "") -> tuple[int, str]:
        """Run curl; return the status and the body."""
        command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *arguments]
        done = subprocess.run(
            [*command, url or self.url], capture_output=True, text=True, check=True, env=self.env, timeout=60
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def last(self) -> Seen:
        """Return what the app saw last."""
        return self.upstream.seen[-1]


@pytest.fixture(scope="module")
def index() -> Iterator[Upstream]:
    """A package index in its simplest form (PEP 503), which also answers everything else with `ok`."""
    wheel = build_wheel()
    digest = hashlib.sha256(wheel).hexdigest()
    name = PACKAGE.replace("_", "-")
    pages = {
        f"/simple/{name}/": f'<a href="../../files/{WHEEL}#sha256={digest}">{WHEEL}</a>'.encode(),
        f"/files/{WHEEL}": wheel,
    }

    def answer(seen: Seen) -> Answer:
        body = pages.get(seen.path.partition("?")[0], b"ok")
        kind = "text/html" if seen.path.startswith("/simple/") else "application/octet-stream"
        return 200, {"Content-Type": kind}, body

    with Upstream(answer) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def behind(demo: Demo, index: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Behind:
    """The index as app `pypi`, open to staff, and pat of staff with a token for it."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    urls = add_apps(demo, {"pypi": {"upstream": index.url, "allow": ["group:staff"]}})
    pat = new_person(demo, "pat", "staff")
    env = program_environment(demo, tmp_path_factory.mktemp("clients"))
    return Behind(demo, urls["pypi"], index, make_token(demo, pat, "pypi"), env)


def build_wheel() -> bytes:
    """Return the smallest wheel that pip installs."""
    content = BytesIO()
    info = f"{PACKAGE}-1.0.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{PACKAGE}.py", "WORD = 'threshold'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{PACKAGE}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return content.getvalue()


def assert_no_trace_of(token: str, seen: Seen) -> None:
    """Assert that neither the token nor a part of it that could be used reached the app."""
    everything = "\n".join(f"{name}: {value}" for name, value in seen.headers.items())
    everything += seen.path + seen.body.decode("latin-1")
    assert token not in everything
    assert token.split(".")[2] not in everything
    assert "x-limen-token" not in seen.headers


@pytest.mark.parametrize("place", ["bearer", "basic", "header"])
def test_curl_opens_the_app_with_a_token_that_the_app_never_sees(behind: Behind, place: str) -> None:
    how = {
        "bearer": ["--oauth2-bearer", behind.token],
        "basic": ["--user", f"whatever:{behind.token}"],
        "header": ["--header", f"X-Limen-Token: {behind.token}"],
    }[place]
    assert behind.curl(*how, url=f"{behind.url}/export?page=2") == (200, "ok")
    seen = behind.last()
    assert (seen.method, seen.path) == ("GET", "/export?page=2")
    assert "authorization" not in seen.headers
    assert "cookie" not in seen.headers
    assert_no_trace_of(behind.token, seen)
    verifier = Verifier("pypi", lambda: fetch_keys(behind.demo.auth_url, behind.demo.ca_file))
    visitor = verifier.verify_visitor(seen.headers)
    assert visitor is not None and visitor.username == "pat"
    assert seen.headers[HEADER].count(".") == 2, "the assertion is a JWT, and there is one"


def test_the_apps_own_authorization_goes_through_when_the_token_has_its_own_header(behind: Behind) -> None:
    own = "Authorization: Bearer the-apps-own-affair"
    assert behind.curl("--header", own, "--header", f"X-Limen-Token: {behind.token}")[0] == 200
    assert behind.last().headers["authorization"] == "Bearer the-apps-own-affair"
    assert_no_trace_of(behind.token, behind.last())


def test_a_program_may_write_with_a_token(behind: Behind) -> None:
    status, _ = behind.curl("--oauth2-bearer", behind.token, "--data", "a=1", "--request", "PUT")
    assert status == 200
    assert (behind.last().method, behind.last().body) == ("PUT", b"a=1")


def test_a_token_opens_no_other_app_though_its_owner_might(behind: Behind) -> None:
    before = len(behind.upstream.seen)
    for how in (
        ["--oauth2-bearer", behind.token],
        ["--user", f"pat:{behind.token}"],
        ["--header", f"X-Limen-Token: {behind.token}"],
    ):
        assert behind.curl(*how, url=behind.demo.url("wiki"))[0] == 401
    assert len(behind.upstream.seen) == before


def test_a_token_is_no_cookie_and_no_session(behind: Behind) -> None:
    cookie = f"Cookie: __Host-limen={behind.token}"
    assert behind.curl("--header", cookie)[0] == 401
    status, _ = behind.curl("--header", cookie, url=f"{behind.demo.auth_url}/account")
    assert status != 200


def test_a_program_without_a_token_is_told_so_and_never_redirected(behind: Behind) -> None:
    status, body = behind.curl()
    problem = json.loads(body)
    assert (status, problem["code"]) == (401, "NO_SESSION")
    assert problem["login_url"].startswith("https://")


def test_pip_downloads_and_installs_from_an_index_behind_limen(behind: Behind, tmp_path: Path) -> None:
    before = len(behind.upstream.seen)
    index = behind.url.replace("https://", f"https://x:{behind.token}@")
    common = ["--no-cache-dir", "--no-deps", "--index-url", f"{index}/simple", PACKAGE]
    for command in (["download", "--dest", str(tmp_path)], ["install", "--target", str(tmp_path / "site")]):
        done = subprocess.run(
            [*find_pip(tmp_path), *command, *common],
            capture_output=True,
            text=True,
            check=False,
            env=behind.env,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / WHEEL).exists()
    assert "threshold" in (tmp_path / "site" / f"{PACKAGE}.py").read_text()
    asked = behind.upstream.seen[before:]
    assert any(seen.path.endswith(WHEEL) for seen in asked)
    for seen in asked:
        assert "authorization" not in seen.headers
        assert_no_trace_of(behind.token, seen)


def find_pip(folder: Path) -> list[str]:
    """Return a command that is pip: Python's own bundled one, or one installed for this test."""
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    for wheel in (*bundled.glob("pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")):
        return [sys.executable, f"{wheel}/pip"]
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", "--target", folder / "pip", "pip"], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("there is no pip here, and none can be installed")
    return [sys.executable, str(folder / "pip" / "pip")]


# --- limen token ---------------------------------------------------------------------------------------


def test_limen_token_as_json_says_what_it_opens_and_until_when(behind: Behind) -> None:
    nina = new_person(behind.demo, "nina", "staff")
    done = run_token(behind.demo, nina, "pypi", "--json", "--name", "nightly")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["app"], made["name"]) == ("pypi", "nightly")
    assert made["token"].startswith("l1.")
    assert 0 < made["expires"] - time.time() <= 3600


@pytest.mark.parametrize(
    ("app", "env", "says"),
    [
        ("nope", {}, "There is no app named 'nope'."),
        ("pypi", {"LIMEN_PASSWORD": "wrong", "LIMEN_CODE": "000000"}, "That did not match."),
        ("pypi", {"LIMEN_CODE": "000000"}, "That did not match."),
        ("pypi", {"LIMEN_CODE": ""}, "Code is missing."),
    ],
)
def test_limen_token_refuses_in_one_sentence_with_a_remedy(
    behind: Behind, app: str, env: dict[str, str], says: str
) -> None:
    somebody = new_person(behind.demo, f"tess-{uuid.uuid4().hex[:8]}", "staff")
    done = run_token(behind.demo, somebody, app, **env)
    assert (done.returncode, done.stdout) == (1, "")
    first, remedy = done.stderr.strip().splitlines()
    assert first.startswith(f"limen: {says}")
    assert remedy.strip()


def test_limen_token_from_another_machine_needs_an_address_and_a_ca_that_vouches_for_it(
    behind: Behind, tmp_path: Path
) -> None:
    ursula = new_person(behind.demo, "ursula", "staff")
    elsewhere, spared = {"LIMEN_STATE": str(tmp_path)}, {"LIMEN_CODE": "000000"}
    auth = ["--auth-url", behind.demo.auth_url]
    untrusted = run_token(behind.demo, ursula, "pypi", *auth, **elsewhere, **spared)
    assert untrusted.returncode == 1
    assert "--ca-file" in untrusted.stderr
    in_clear = ["--auth-url", "http://auth.limen.localhost"]
    refused = run_token(behind.demo, ursula, "pypi", *in_clear, **elsewhere, **spared)
    assert refused.returncode == 1 and "not an https address" in refused.stderr
    trusted = run_token(
        behind.demo, ursula, "pypi", *auth, "--ca-file", str(behind.demo.ca_file), **elsewhere
    )
    assert trusted.returncode == 0, trusted.stderr
    assert behind.curl("--oauth2-bearer", trusted.stdout.strip())[0] == 200


def test_a_token_ends_with_the_session_under_which_it_was_made(behind: Behind) -> None:
    rob = new_person(behind.demo, "rob", "staff")
    token = make_token(behind.demo, rob, "pypi")
    assert behind.curl("--oauth2-bearer", token)[0] == 200
    sessions = behind.demo.admin.get("/v1/sessions", person="rob")
    newest = max(sessions, key=lambda session: session["started_at"])
    ended = behind.demo.limen("session", "end", newest["id"], "--reason", "test")
    assert ended.returncode == 0, ended.stderr
    wait_until("the token is refused", lambda: behind.curl("--oauth2-bearer", token)[0] == 401, 20)
    before = len(behind.upstream.seen)
    assert behind.curl("--oauth2-bearer", token)[0] == 401
    assert len(behind.upstream.seen) == before


def test_a_token_does_what_its_owner_may_and_no_more(behind: Behind) -> None:
    out = new_person(behind.demo, "olga", "contractors")
    token = make_token(behind.demo, out, "pypi")
    status, body = behind.curl("--oauth2-bearer", token)
    assert (status, json.loads(body)["code"]) == (403, "NO_PERMIT")
    behind.demo.limen("group", "add-member", "staff", "olga")
    wait_until("she is let in", lambda: behind.curl("--oauth2-bearer", token)[0] == 200, 20)
    behind.demo.limen("user", "set", "olga", "--status", "suspended")
    wait_until("she is kept out", lambda: behind.curl("--oauth2-bearer", token)[0] != 200, 20)
