"""git over HTTP, unmodified on both sides: clone and push through the gateway, a token as the password."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from demo_rig import Demo
from journey_rig import (
    Answer,
    Person,
    Seen,
    Upstream,
    add_apps,
    make_token,
    new_person,
    program_environment,
)

pytestmark = pytest.mark.envoy

APP = {
    "allow": ["group:engineers"],
    # git's server wants to know who pushes: the header becomes REMOTE_USER.
    "identity": {"headers": {"preset": "oauth2-proxy"}},
    # A fetch is a POST, though it reads: said once, so that readers need no right to write.
    "routes": [
        {"name": "fetch", "path": "/*/git-upload-pack", "methods": ["POST"], "action": "read"},
    ],
}
READERS = """
@id("contractors-read-git") @reason("Contractors read the repositories.")
permit(principal in Group::"contractors", action == Action::"read", resource in App::"git");
"""
BIG = 3_000_000  # bytes; above git's http.postBuffer, so it is pushed in chunks of unknown length

Git = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path_factory.mktemp("repositories")
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", folder / "notes.git"], check=True)
    return folder


@pytest.fixture(scope="module")
def server(repositories: Path) -> Iterator[Upstream]:
    """git's own server, `git http-backend`, run as the CGI program that it is (RFC 3875)."""

    def answer(seen: Seen) -> Answer:
        path, _, query = seen.path.partition("?")
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_COMMITTER_EMAIL": "server@localhost",
            "REQUEST_METHOD": seen.method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": seen.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(seen.body)),
            "HTTP_CONTENT_ENCODING": seen.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": seen.headers.get("git-protocol", ""),
        }
        if user := seen.headers.get("x-forwarded-user"):
            variables["REMOTE_USER"] = user
        done = subprocess.run(
            ["git", "http-backend"], input=seen.body, capture_output=True, check=True, env=variables
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200 OK").split(" ")[0])
        return status, headers, body

    with Upstream(answer) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def app_url(demo: Demo, server: Upstream) -> str:
    files = {"policies/entitlements/git.cedar": READERS}
    return add_apps(demo, {"git": {**APP, "upstream": server.url}}, files)["git"]


@pytest.fixture(scope="module")
def git(demo: Demo, app_url: str, tmp_path_factory: pytest.TempPathFactory) -> Git:
    env = program_environment(demo, tmp_path_factory.mktemp("git"))
    for name in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{name}_NAME": "Emma", f"GIT_{name}_EMAIL": "emma@limen.localhost"}

    def run(*arguments: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ["git", *map(str, arguments)], capture_output=True, text=True, check=False, env=env, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def emma(demo: Demo) -> Person:
    return new_person(demo, "emma", "engineers")


def with_token(url: str, token: str) -> str:
    return f"{url.replace('https://', f'https://x:{token}@')}/notes.git"


def test_clone_commit_push_and_fetch(
    git: Git, demo: Demo, app_url: str, server: Upstream, emma: Person, repositories: Path, tmp_path: Path
) -> None:
    token = make_token(demo, emma, "git")
    before = len(server.seen)
    git("clone", "--quiet", with_token(app_url, token), tmp_path / "one")
    (tmp_path / "one" / "big.bin").write_bytes(os.urandom(BIG))
    (tmp_path / "one" / "note.txt").write_text("threshold\n")
    git("-C", tmp_path / "one", "add", ".")
    git("-C", tmp_path / "one", "commit", "--quiet", "-m", "first")
    git("-C", tmp_path / "one", "push", "--quiet", "origin", "HEAD:main")
    git("-C", repositories / "notes.git", "fsck", "--full", "--strict")
    git("clone", "--quiet", with_token(app_url, token), tmp_path / "two")
    assert (tmp_path / "two" / "note.txt").read_text() == "threshold\n"
    assert (tmp_path / "two" / "big.bin").stat().st_size == BIG

    seen = server.seen[before:]
    assert {one.headers.get("x-forwarded-user") for one in seen} == {"emma"}
    pushed = next(one for one in seen if one.path.endswith("/git-receive-pack") and len(one.body) > BIG)
    assert pushed.method == "POST"
    for one in seen:
        assert "authorization" not in one.headers
        assert token not in repr(one.headers)


def test_a_reader_clones_and_cannot_push(
    git: Git, demo: Demo, app_url: str, server: Upstream, repositories: Path, tmp_path: Path
) -> None:
    token = make_token(demo, new_person(demo, "carl", "contractors"), "git")
    git("clone", "--quiet", with_token(app_url, token), tmp_path / "copy")
    (tmp_path / "copy" / "mine.txt").write_text("mine\n")
    git("-C", tmp_path / "copy", "add", ".")
    git("-C", tmp_path / "copy", "commit", "--quiet", "-m", "mine")
    refused = git("-C", tmp_path / "copy", "push", "origin", "HEAD:refs/heads/mine", check=False)
    assert refused.returncode != 0
    assert "403" in refused.stderr
    assert not any(
        one.path.endswith("/git-receive-pack") and one.headers.get("x-forwarded-user") == "carl"
        for one in server.seen
    ), "the push itself never reached the server"
    assert "mine" not in git("-C", repositories / "notes.git", "branch").stdout


@pytest.mark.parametrize("password", ["", "l1.1.c3RvbGVu.c3RvbGVu"])
def test_without_a_good_token_git_is_asked_for_one_and_gets_nothing(
    git: Git, app_url: str, server: Upstream, tmp_path: Path, password: str
) -> None:
    before = len(server.seen)
    url = with_token(app_url, password) if password else f"{app_url}/notes.git"
    refused = git("clone", url, tmp_path / "none", check=False)
    assert refused.returncode != 0
    assert "Authentication failed" in refused.stderr or "could not read Username" in refused.stderr
    assert len(server.seen) == before
