"""`limen replay --from-log`, and a report as people see it: on a terminal, as HTML, as JSON."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Limen, run
from fastapi.testclient import TestClient

from limen.cli.replay_render import html, lines, printable
from limen.engine.replay_report import Difference, Effect, Mismatch, Report, Side, Underived
from limen.engine.starter import starter_files
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir

YAML = """\
domain: corp.example
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    owner: grace
    allow: [group:staff]
    routes:
      - {name: health, path: /healthz, public: true}
      - {name: admin, path: /admin/**, action: admin}
"""
MFA = """
@id("phr") @reason("Use a passkey.")
forbid(principal is User, action == Action::"write", resource)
unless { context has session && context.session.phishing_resistant };
"""
NO_LIST = """
@id("no-list") @reason("Nobody lists people.")
forbid(principal, action == Action::"read", resource == Route::"limen/people");
"""
OPERATOR = """
@id("operators") permit(principal in Group::"admins", action in Action::"access", resource == App::"limen");
@id("host") permit(principal == Workload::"host-operator", action, resource in App::"limen");
"""


def line(user: str, path: str, status: int = 200, method: str = "GET", host: str = "") -> str:
    when = "15/Jan/2027:12:00:05 +0000"
    return f'{host}198.51.100.7 - {user} [{when}] "{method} {path} HTTP/1.1" {status} 5 "-" "curl"'


LOG = [
    line("ada", "/page"),
    line("ada", "/page", method="POST"),
    line("Ada@Corp.example", "/page"),
    line("bob", "/page"),
    line("bob", "/page", 403),
    line("eve\\x1b[31m", "/page"),
    line("-", "/page"),
    line("-", "/healthz"),
    line("ada", "/page", host="other.example "),
    "\x1b]0;owned\x07 not a line",
]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A bundle's folder, and a state folder with Ada in staff, and Bob in nothing."""
    root = tmp_path_factory.mktemp("from-log")
    folder, state = root / "bundle", root / "state"
    for name, text in {
        "limen.yaml": YAML,
        "policies/guardrails/phr.cedar": MFA,
        "policies/entitlements/limen.cedar": OPERATOR,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    control = Control(
        StateDir.create(state), ControlOptions(state=state, bundle=folder, public_port=8443, metrics=None)
    )
    api = TestClient(control.admin, client=("uid:0", 1))
    for name, groups in (("ada", ["staff"]), ("bob", [])):
        made = api.post("/v1/people", json={"id": name, "groups": groups, "email": f"{name}@corp.example"})
        assert made.status_code == 201, made.text
    control.close()
    (root / "access.log").write_text("\n".join(LOG) + "\n")
    with gzip.open(root / "access.log.gz", "wt") as packed:
        packed.write("\n".join(LOG) + "\n")
    yield folder, state


def from_log(logged: tuple[Path, Path], name: str, *more: str) -> Report:
    from limen.cli.replay import parse_report

    folder, _ = logged
    done = run(
        *("replay", "--from-log", "nginx", str(folder.parent / name), "--bundle", str(folder)),
        *("--host", "wiki.corp.example", "--json", *more),
    )
    assert done.code == 0, done.err
    return parse_report(json.loads(done.out))


@pytest.mark.parametrize("name", ["access.log", "access.log.gz"])
def test_a_log_says_who_would_lose_what(logged: tuple[Path, Path], name: str) -> None:
    report = from_log(logged, name, "--state", str(logged[1]))
    assert report.decisions == 9 and report.same == 4
    assert report.who(Effect.STEP_UP) == ('User::"ada"',)
    assert set(report.losers) == {'User::"bob"', 'User::"eve\x1b[31m"'}
    assert report.times(Effect.SIGN_IN) == 1
    codes = {one.after.code: one.times for one in report.differences}
    assert codes == {"NO_PERMIT": 1, "FORBIDDEN": 1, "SUBJECT_UNKNOWN": 1, "NO_SESSION": 1}
    (elsewhere,) = report.underived
    assert (elsewhere.reason, elsewhere.times) == ("no_place", 1)
    notes = " ".join(report.notes)
    assert "Supposed" in notes and "other.example (1)" in notes and "1 lines could not be read" in notes


def test_without_a_directory_it_says_what_cannot_be_known(
    logged: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    report = from_log(logged, "access.log")
    assert {one.reason: one.times for one in report.underived} == {"no_directory": 6, "no_place": 1}
    assert not report.losers and report.times(Effect.SIGN_IN) == 1


def test_a_supposed_passkey_and_a_host_that_moves(logged: tuple[Path, Path]) -> None:
    more = ("--state", str(logged[1]), "--suppose-passkey", "--host", "other.example=wiki.corp.example")
    report = from_log(logged, "access.log", *more)
    assert not report.steppers and not report.underived


def test_on_a_terminal_nothing_of_a_log_moves_the_cursor(logged: tuple[Path, Path], tmp_path: Path) -> None:
    folder, state = logged
    page = tmp_path / "report.html"
    arguments = ("replay", "--from-log", "nginx", str(folder.parent / "access.log"), "--bundle", str(folder))
    done = run(*arguments, "--host", "wiki.corp.example", "--state", str(state))
    assert done.code == 0 and "\x1b" not in done.out and "\\u001b" in done.out
    assert "bob" in done.out and "cured by passkey" in done.out and "owner grace" in done.out
    run(*arguments, "--host", "wiki.corp.example", "--state", str(state), "--html", str(page))
    assert "\x1b" not in page.read_text() and "<script" not in page.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "--from-log", "apache", "x.log"),
        ("replay", "--from-log", "nginx"),
        ("replay", "x.log"),
        ("replay", "--from-log", "nginx", "x.log", "--bundle", "/nowhere"),
    ],
)
def test_wrong_usage_says_what_to_write(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 1 and done.err.startswith("limen: ") and len(done.err.splitlines()) > 1


def hostile() -> Report:
    """A report in which every text is a stranger's."""
    evil = '<script>alert(1)</script>"\x1b[2J\u202e'
    side = Side(evil, evil, "allow", "allow", evil, (evil,), "observe")
    other = Side(evil, evil, "deny", "deny", evil, (evil,), evil)
    one = Difference(
        Effect.LOSES, side, other, 3, 1.8e9, 1.8e9, (evil,), {evil: 3}, ((evil, 1),), (evil,), evil
    )
    return Report(
        bundle=evil,
        decisions=3,
        derived=3,
        differences=(one,),
        underived=(Underived(evil, evil, 1, (evil,)),),
        mismatched=1,
        mismatches=(Mismatch(evil, evil, evil, evil),),
        notes=(evil,),
    )


def test_html_escapes_everything_and_runs_nothing() -> None:
    page = html(hostile(), title="<b>")
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page and "<b>" not in page
    assert "default-src 'none'" in page and "src=" not in page.replace("default-src", "")


def test_lines_hold_no_control_character() -> None:
    assert all(text.isprintable() for text in lines(hostile()))
    assert printable("a\tb\u2066") == "a\\u0009b\\u2066"


def test_twenty_thousand_people_are_a_few_lines() -> None:
    who = {f'User::"p{n:05d}"': 2 for n in range(20_000)}
    before = Side('App::"wiki"', "read", "allow", "allow", "PERMITTED", ("allow:wiki:group:staff",))
    after = Side('App::"wiki"', "read", "deny", "deny", "NO_PERMIT")
    groups = (("staff", 20_000), ("sales", 12_000))
    one = Difference(Effect.LOSES, before, after, 40_000, 1.8e9, 1.8e9, (), who, groups, ("d1",))
    shown = list(lines(Report("b", decisions=40_000, derived=40_000, differences=(one,))))
    assert len(shown) < 15
    assert any("p00000, p00001" in text and "and 19,992 more" in text for text in shown)
    assert any("staff 20,000, sales 12,000" in text for text in shown)


def test_the_running_system_replays_what_it_recorded(system: Limen, tmp_path: Path) -> None:
    assert system("user", "list").code == 0
    same = system("replay", "--since", "1h")
    assert same.code == 0 and "each under its own bundle" in same.out, same.err
    for name, text in {**starter_files("corp.example"), "policies/guardrails/none.cedar": NO_LIST}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = system("replay", "--bundle", str(tmp_path), "--json")
    assert done.code == 0, done.err
    assert [one["after"]["policies"] for one in json.loads(done.out)["differences"]] == [["no-list"]]
    text = system("replay", "--bundle", str(tmp_path)).out
    assert "lose access" in text and "no-list" in text and "host-operator" in text


def test_the_shadow_on_the_command_line(system: Limen, tmp_path: Path) -> None:
    for name, text in {**starter_files("corp.example"), "policies/guardrails/none.cedar": NO_LIST}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert "No bundle is in shadow" in system("shadow", "status").err
    assert system("shadow", "start", str(tmp_path), "--reason", "to see").code == 0
    assert json.loads(system("shadow", "status", "--json").out)["reason"] == "to see"
    assert "in shadow already" in system("shadow", "start", str(tmp_path)).err
    page = tmp_path / "shadow.html"
    assert system("shadow", "report", "--html", str(page)).code == 0 and "<h1>Shadow" in page.read_text()
    assert system("shadow", "stop").code == 0
