"""`init`, `protect` and `policy` on bundles that are whole, and on bundles that are broken."""

import json
import re
from pathlib import Path

import pytest
from cli_rig import Limen

URL = "http://127.0.0.1:9001"


@pytest.fixture
def bundle(limen: Limen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert limen("init", "b", "--domain", "corp.example").code == 0
    monkeypatch.chdir(tmp_path / "b")
    return tmp_path / "b"


def test_init_writes_a_bundle_that_is_good_and_never_over_another(limen: Limen, bundle: Path) -> None:
    checked = limen("policy", "check")
    assert (checked.code, checked.err) == (0, "")
    assert re.fullmatch(r"The bundle is good: .* 0 warnings\. Id: [0-9a-f]{12}\.\n", checked.out)
    before = (bundle / "limen.yaml").read_text()
    assert "# " in before, "it is commented"
    again = limen("init", ".", "--domain", "other.example")
    assert (again.code, (bundle / "limen.yaml").read_text()) == (1, before)


def test_protect_adds_one_app_shows_the_difference_and_says_where_it_will_be(
    limen: Limen, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (bundle / "limen.yaml").read_text()
    done = limen("protect", URL, "--name", "wiki", "--allow", "group:staff", "--allow", "user:ada")
    assert (done.code, done.err) == (0, "")
    added = [line[1:] for line in done.out.splitlines() if line.startswith("+") and line[1:2] == " "]
    assert added == ["  wiki:", f"    upstream: {URL}", "    allow: [group:staff, user:ada]"]
    assert "wiki will be at https://wiki.corp.example:8443." in done.out
    assert (bundle / "limen.yaml").read_text().startswith(before.rstrip()), "not a byte of it is changed"
    monkeypatch.setenv("LIMEN_PORT", "443")
    closed = limen("protect", URL, "--name", "closed")
    assert "https://closed.corp.example." in closed.out
    assert "Nobody may use it yet" in closed.out
    assert limen("policy", "check").code == 0
    assert limen("policy", "show").out.count('@id("allow:wiki:') == 2


def test_protect_adds_a_service_and_says_how_it_is_reached(limen: Limen, bundle: Path) -> None:
    asked = ("protect", "--service", "ledger-db", "--address", "db1.internal:5432", "--protocol", "postgres")
    done = limen(*asked, "--allow", "group:dba")
    assert (done.code, done.err) == (0, "")
    added = [line[1:] for line in done.out.splitlines() if line.startswith("+") and line[1:2] == " "]
    assert added == [
        "  ledger-db:",
        '    address: "db1.internal:5432"',
        "    protocol: postgres",
        "    allow: [group:dba]",
    ]
    assert "ledger-db will be at ledger-db.corp.example, through `limen connect ledger-db`." in done.out
    assert limen("policy", "check").code == 0
    assert 'resource == Service::"ledger-db"' in limen("policy", "show").out
    again = limen(*asked)
    assert (again.code, again.out) == (1, "")
    assert "there is a service 'ledger-db' already" in again.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [URL],
        ["--name", "a"],
        ["--service", "a"],
        [URL, "--name", "a", "--service", "b", "--address", "h:1"],
        [URL, "--name", "a", "--protocol", "ssh"],
        ["--service", "a", "--address", "h"],
        ["--service", "auth", "--address", "h:1"],
    ],
)
def test_protect_takes_an_app_or_a_service_and_not_half_of_one(
    limen: Limen, bundle: Path, arguments: list[str]
) -> None:
    before = (bundle / "limen.yaml").read_text()
    done = limen("protect", *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 2)
    assert (bundle / "limen.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["127.0.0.1:9001", "--name", "a"], "upstream"),
        (["ftp://127.0.0.1", "--name", "a"], "upstream"),
        ([URL, "--name", "A b"], "A b"),
        ([URL, "--name", "auth"], "auth"),
        ([URL, "--name", "a", "--allow", "staff"], "group:NAME"),
        ([URL, "--name", "there"], "there"),
    ],
)
def test_protect_refuses_in_one_sentence_and_writes_nothing(
    limen: Limen, bundle: Path, arguments: list[str], says: str
) -> None:
    limen("protect", URL, "--name", "there")
    before = (bundle / "limen.yaml").read_text()
    done = limen("protect", *arguments)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 2
    assert says in done.err
    assert "limen.yaml:" not in done.err or "there is an app" in done.err, (
        "no place in a text nobody has seen"
    )
    assert (bundle / "limen.yaml").read_text() == before


BROKEN = {
    "limen.yaml": (
        "domain: corp.example\napps:\n  wiki:\n    upstraem: http://127.0.0.1:1\n",
        (4, 5),
        "upstream",
    ),
    "policies/entitlements/x.cedar": ('@id("x")\npermit(principal, action, resouce);\n', (2, 1), "resouce"),
    "policies/guardrails/y.cedar": ('@id("y")\npermit(principal, action, resource);\n', None, "guardrails"),
    "tests/z.yaml": ("- name: a\n  subject: {groups: [staff]}\n  acton: read\n", (3, 3), "action"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_line_column_and_what_to_do(
    limen: Limen, bundle: Path, name: str
) -> None:
    text, place, hint = BROKEN[name]
    (bundle / name).write_text(text)
    done = limen("policy", "check")
    assert (done.code, done.out) == (1, "")
    findings = [line for line in done.err.splitlines() if line.startswith(f"{name}:")]
    assert findings, done.err
    for line in findings:
        assert re.match(rf"{re.escape(name)}:\d+:\d+: error [a-z-]+: \S.*[.?]$", line), line
    assert hint in done.err
    if place is not None:
        assert any(line.startswith(f"{name}:{place[0]}:") for line in findings), done.err
    assert done.err.splitlines()[-2].startswith("limen: The bundle is refused: ")


def test_all_that_is_wrong_is_said_at_once_and_as_json_too(limen: Limen, bundle: Path) -> None:
    for name in ("policies/entitlements/x.cedar", "tests/z.yaml"):
        (bundle / name).write_text(BROKEN[name][0])
    said = limen("policy", "check").err
    done = limen("policy", "check", "--json")
    report = json.loads(done.out)
    assert (done.code, report["ok"]) == (1, False)
    assert {finding["file"] for finding in report["findings"]} == {
        "policies/entitlements/x.cedar",
        "tests/z.yaml",
    }
    for finding in report["findings"]:
        assert f"{finding['file']}:{finding['line']}:{finding['column']}: " in said
        assert finding["remedy"]


def test_a_lint_warning_is_told_and_stops_nothing(limen: Limen, bundle: Path) -> None:
    limen("protect", URL, "--name", "wiki", "--allow", "group:staff")
    (bundle / "policies" / "entitlements" / "late.cedar").write_text(
        '@id("late") @reason("Late.")\n'
        'permit(principal in Group::"staff", action == Action::"read", resource == App::"wiki")\n'
        "when { context.hour * 2 > 30 };\n"
    )
    done = limen("policy", "check")
    assert done.code == 0
    assert re.search(r"^policies/entitlements/late\.cedar:\d+:\d+: warning [a-z-]+: ", done.err, re.MULTILINE)
    assert " 1 warnings" in done.out or " 2 warnings" in done.out


def test_a_test_that_fails_is_told_by_name_with_what_differs(limen: Limen, bundle: Path) -> None:
    limen("protect", URL, "--name", "wiki", "--allow", "group:staff")
    case = "- {name: guests read, subject: {groups: [guests]}, action: read, resource: wiki, expect: allow}\n"
    (bundle / "tests" / "wiki.yaml").write_text(case)
    run = limen("policy", "test")
    assert run.code == 1
    assert run.out.splitlines()[0].split() == ["TEST", "FILE", "LINE", "WHY"]
    assert "guests read" in run.out and "tests/wiki.yaml" in run.out
    assert "1 of " in run.err
    rows = json.loads(limen("policy", "test", "--json").out)
    assert [row["name"] for row in rows if not row["passed"]] == ["guests read"]
    checked = limen("policy", "check")
    assert checked.code == 1 and "test failed: guests read: " in checked.err


def test_apply_prints_every_finding_of_a_bundle_that_it_refuses(system: Limen, bundle: Path) -> None:
    (bundle / "policies" / "entitlements" / "x.cedar").write_text(BROKEN["policies/entitlements/x.cedar"][0])
    done = system("policy", "apply")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("policies/entitlements/x.cedar:2:") == 1
    assert done.err.splitlines()[-2] == "limen: The bundle is refused: 1 thing is wrong."


def test_a_bundle_under_which_nobody_could_administer_is_refused(system: Limen, bundle: Path) -> None:
    (bundle / "policies" / "entitlements" / "limen.cedar").unlink()
    for file in (bundle / "tests").glob("*.yaml"):
        file.unlink()
    done = system("policy", "apply")
    assert done.code == 1
    assert "administer" in done.err


def test_show_as_json_has_the_cedar_of_each_policy(limen: Limen, bundle: Path) -> None:
    shown = json.loads(limen("policy", "show", "--json").out)
    assert {"mfa-everywhere"} <= {policy["id"] for policy in shown}
    assert all(policy["cedar"] and policy["file"] and policy["line"] > 0 for policy in shown)
