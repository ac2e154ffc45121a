"""What README and the guides tell people to type, typed: every command there is run, or is a real target."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from journey_rig import MARK, Person, enrol, marked_processes, started, wait_until

from limen.api.client import AdminClient
from limen.core.errors import LimenError
from limen.services.form_client import FormClient
from limen.services.state import StateDir
from limen.services.system import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("readme")]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial" / "first-hour.md").read_text()
PEOPLE = (ROOT / "docs" / "how-to" / "people-and-groups.md").read_text()
APP_PORT = "9001"  # in the README; the test gives the app a free one
END_S = 60.0


def fenced(text: str, language: str) -> list[str]:
    """Return the blocks of one language, in order, without the indentation that lists give them."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


SHELL = fenced(README, "sh")
STEPS = next(block for block in SHELL if "limen init" in block)


def quoted(pattern: str) -> str:
    """Return the one command in backquotes that fits."""
    found = re.findall(rf"`({pattern})`", README)
    assert len(found) == 1, f"README does not say {pattern} once"
    return str(found[0])


def test_every_make_command_of_the_readme_is_a_target() -> None:
    said = {line for block in SHELL for line in block.splitlines() if line.startswith("make ")}
    said |= set(re.findall(r"`(make [^`]+)`", README))
    assert {"make demo", "make test"} <= said
    for command in sorted(said):
        planned = subprocess.run(
            [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert planned.returncode == 0, f"{command}: {planned.stderr}"


def test_every_block_of_the_readme_is_known_to_this_test() -> None:
    assert [block for block in SHELL if block != STEPS and not block.startswith("make ")] == []
    assert [line.split()[:2] for line in STEPS.splitlines()] == [
        ["limen", "init"],
        ["limen", "protect"],
        ["limen", "up"],
    ]


class Guarded(NamedTuple):
    """The README's app behind `limen up`, before anybody enrolled."""

    folder: Path
    port: int
    output: Path
    process: "subprocess.Popen[bytes]"
    env: dict[str, str]

    @property
    def url(self) -> str:
        return f"https://files.limen.localhost:{self.port}"

    @property
    def auth_url(self) -> str:
        return f"https://auth.limen.localhost:{self.port}"

    def client(self) -> FormClient:
        return FormClient(self.folder / ".limen" / "ca" / "ca.pem")

    def link(self) -> str:
        found = re.search(r"^https://\S+/enrol/\S+$", self.output.read_text(), flags=re.MULTILINE)
        assert found is not None, self.output.read_text()
        return found[0]

    def run(self, command: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command of the guides in a second terminal, in the bundle's folder."""
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """Do the README's three steps, in an empty folder, with the README's own upstream."""
    home = Path(tempfile.mkdtemp(prefix="lr-"))
    mark, port, app_port = uuid.uuid4().hex, free_port("127.0.0.1"), str(free_port("127.0.0.1"))
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LIMEN_PORT": str(port),
        MARK: mark,
    } | {name: os.environ[name] for name in ("PYTHONPATH", "LIMEN_ENVOY") if name in os.environ}
    files, output = home / "files", home / "out"
    files.mkdir()
    (files / "hello.txt").write_text("behind the threshold\n")
    serve = quoted(r"python3 -m http\.server [^`]*").replace(APP_PORT, app_port)
    steps = STEPS.replace(APP_PORT, app_port)
    assert app_port in serve and app_port in steps
    with (
        started(shlex.split(serve), home / "app", env={**env, MARK: f"{mark}-app"}, cwd=files),
        started(["bash", "-ec", steps], output, env=env, cwd=home) as process,
    ):
        wait_until(
            "limen up greets", lambda: "/enrol/" in output.read_text() or process.poll() is not None, 120
        )
        assert process.poll() is None, output.read_text()
        yield Guarded(home / "guarded", port, output, process, env)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def maria(guarded: Guarded) -> tuple[Person, FormClient]:
    """The first administrator, who followed the link; and her browser."""
    client = guarded.client()
    person = enrol(client, guarded.link(), username="maria", name="Maria", email="maria@limen.localhost")
    return person, client


def test_the_three_steps_say_what_they_do_and_where_it_will_be(guarded: Guarded) -> None:
    said = guarded.output.read_text()
    assert "wrote guarded/limen.yaml" in said
    assert "+    allow: [group:staff]" in said
    assert f"files will be at {guarded.url}." in said
    assert re.search(rf"files +{re.escape(guarded.url)}\n", said)
    assert "limen trust" in said
    assert f"{guarded.auth_url}/enrol/" in guarded.link()


def test_before_the_first_administrator_nothing_answers(guarded: Guarded) -> None:
    with guarded.client() as stranger:
        for url in (f"{guarded.url}/hello.txt", f"{guarded.auth_url}/login", f"{guarded.auth_url}/account"):
            answer = stranger.get(url)
            assert "behind the threshold" not in answer.text
            assert "password" not in answer.text
            assert answer.status_code >= 400
    assert guarded.run("limen user list").stdout.startswith("Nobody yet.")


def test_the_link_enrols_the_first_administrator_and_the_group_opens_the_app_at_once(
    guarded: Guarded, maria: tuple[Person, FormClient]
) -> None:
    person, client = maria
    denied = client.get(f"{guarded.url}/")
    assert denied.status_code == 403
    assert "data-decision-id" in denied.text
    shown = guarded.run(quoted(r"limen group add-member staff YOU").replace("YOU", person.username))
    assert shown.stdout == "maria is in staff.\n"
    wait_until("the app opens", lambda: client.get(f"{guarded.url}/").status_code == 200, 20)
    listing = client.get(f"{guarded.url}/")
    assert "hello.txt" in listing.text, "the directory listing of http.server"
    assert client.get(f"{guarded.url}/hello.txt").text == "behind the threshold\n"


def test_the_link_works_once_and_a_second_up_makes_no_other(
    guarded: Guarded, maria: tuple[Person, FormClient]
) -> None:
    with guarded.client() as stranger:
        assert stranger.get(guarded.link()).status_code == 404
    admin = AdminClient(StateDir((guarded.folder / ".limen").resolve()).socket("admin"))
    with pytest.raises(LimenError, match="people"):
        admin.post("/v1/system/first-admin-link")
    again = guarded.run("limen up", check=False)
    assert again.returncode == 1
    assert "already" in again.stderr or "taken" in again.stderr


def test_the_first_hours_change_of_rules_is_checked_applied_listed_and_rolled_back(
    guarded: Guarded, maria: tuple[Person, FormClient]
) -> None:
    policy, case = fenced(TUTORIAL, "cedar")[-1], fenced(TUTORIAL, "yaml")[-1]
    names = re.findall(r"`((?:policies|tests)/[\w/.-]+)`", TUTORIAL)
    assert [Path(name).suffix for name in names[-2:]] == [".cedar", ".yaml"]
    for name, text in zip(names[-2:], (policy, case), strict=True):
        (guarded.folder / name).write_text(text)
    before = guarded.run("limen policy history --json").stdout
    said = guarded.run(fenced(TUTORIAL, "sh")[-1]).stdout
    assert "The bundle is good: " in said and "Applied " in said
    assert guarded.run("limen policy history --json").stdout.count('"serial"') == before.count('"serial"') + 1
    asked = guarded.run("limen policy explain maria write files").stdout
    assert asked.startswith(("allow", "deny (FORBIDDEN; read-only-weekend"))
    assert "Applied" in guarded.run("limen policy rollback 1").stdout


def test_the_guide_to_people_and_groups_does_what_it_says(
    guarded: Guarded, maria: tuple[Person, FormClient]
) -> None:
    by_hand, *others = fenced(PEOPLE, "sh")
    by_hand = by_hand.replace("limen group add staff\n", "")  # `limen up` made it, since the bundle names it
    said = guarded.run(by_hand).stdout
    assert said.count("/enrol/") == 2
    ada = guarded.run("limen user show ada").stdout
    assert "suspended" in ada
    assert "2027-03-31 23:59:59Z" in guarded.run("limen user show mel").stdout
    table = fenced(PEOPLE, "csv")
    (guarded.folder / "people.csv").write_text(table[0] if table else "username,groups\nzoe,staff\n")
    for block in others:
        guarded.run(block)
    assert guarded.run("limen user list --json").stdout.count('"id"') > 3


def test_ctrl_c_leaves_no_process_behind_and_a_second_start_keeps_everybody_signed_in(
    guarded: Guarded, maria: tuple[Person, FormClient]
) -> None:
    mark = guarded.env[MARK]
    assert len(marked_processes(mark)) >= 4, "up, control, gateway, Envoy"
    os.killpg(guarded.process.pid, signal.SIGINT)
    guarded.process.wait(END_S)
    assert marked_processes(mark) == {}
    assert "Traceback" not in guarded.output.read_text()
    client = maria[1]
    output = guarded.folder / "again"
    with started(["limen", "up"], output, env=guarded.env, cwd=guarded.folder) as process:
        wait_until(
            "limen up greets", lambda: "limen trust" in output.read_text() or process.poll() is not None, 120
        )
        assert "/enrol/" not in output.read_text()
        page = client.get(f"{guarded.url}/hello.txt")
        assert page.text == "behind the threshold\n", "her sessions live in the state folder"
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(END_S)
        assert marked_processes(mark) == {}
