"""`limen policy plan` and `apply`: who gains and who loses stands there before anything is in force."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cli_rig import Limen

from limen.cli import plan_report

BASE = "\napps:\n  wiki:\n    upstream: http://127.0.0.1:9001\n    owner: ada\n    allow: [group:staff]\n"
HR = BASE.replace("group:staff", "group:hr")
PASSKEY = """
@id("passkeys") @reason("A passkey is needed.")
forbid(principal is User, action, resource == App::"wiki")
unless { context has session && context.session.phishing_resistant };
"""


@pytest.fixture(scope="module")
def people(served: Path) -> None:
    from limen.api.client import AdminClient
    from limen.services.state import StateDir

    client = AdminClient(StateDir(served).socket("admin"))
    for name, group in (("plan-sam", "staff"), ("plan-hal", "hr")):
        client.post("/v1/people", {"id": name, "groups": []})
        if group not in {row["id"] for row in client.get("/v1/groups")}:
            client.post("/v1/groups", {"id": group})
        client.put(f"/v1/groups/{group}/members/{name}")


@pytest.fixture
def folder(tmp_path: Path, people: None, served: Path, system: Limen) -> Iterator[Path]:
    """A bundle to change; the system's own is in force again when the test is over."""
    from limen.engine.starter import starter_files

    yield write(tmp_path / "bundle", starter_files("corp.example"), BASE)
    assert system("policy", "apply", str(served.parent / "bundle"), "--no-plan").code == 0


def write(folder: Path, files: Mapping[str, str], apps: str) -> Path:
    for path, text in {**files, "limen.yaml": files["limen.yaml"] + apps}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def allow(folder: Path, old: str, new: str) -> None:
    file = folder / "limen.yaml"
    file.write_text(file.read_text().replace(old, new))


def test_the_plan_says_who_gains_who_loses_and_who_needs_more(system: Limen, folder: Path) -> None:
    assert system("policy", "apply", str(folder), "--no-plan").code == 0
    allow(folder, "group:staff", "group:hr")
    lost = system("policy", "plan", str(folder), "--no-replay", "--format", "json")
    assert lost.code == 3, lost.err
    found = json.loads(lost.out)
    rows = {
        (row["effect"], row["action"]): found["who_can"]["subjects"][row["who"]]
        for row in found["who_can"]["rows"]
    }
    # Other modules may have put people of their own into `staff` of the one served system.
    assert "plan-sam" in rows["removed", "read"]
    assert rows["added", "read"] == ["plan-hal"]
    assert found["loses"] is True and found["guarded"] == []

    refused = system("policy", "apply", str(folder), "--reason", "x")
    assert refused.code == 3
    assert "plan-sam" in refused.out and "--yes" in refused.err
    history = system("policy", "history", "--json").out
    assert "Applied" in system("policy", "apply", str(folder), "--yes", "--reason", "agreed").out
    assert len(json.loads(system("policy", "history", "--json").out)) == len(json.loads(history)) + 1

    (folder / "policies" / "guardrails" / "passkeys.cedar").write_text(PASSKEY)
    more = system("policy", "plan", str(folder), "--no-replay", "--format", "markdown")
    assert more.code == 0, more.err
    assert "need more for it" in more.out and "second&#45;factor" not in more.out
    assert "passkey" in more.out and "guardrail passkeys" in more.out.replace("&#", "")


def test_a_refused_bundle_exits_with_two_and_says_what_is_wrong(system: Limen, folder: Path) -> None:
    (folder / "policies" / "entitlements" / "x.cedar").write_text("permit(principal, action, resource);")
    done = system("policy", "plan", str(folder))
    assert done.code == 2
    assert "policies/entitlements/x.cedar:1:" in done.err
    assert "refused" in done.out
    (folder / "policies" / "entitlements" / "x.cedar").unlink()
    (folder / "policies" / "entitlements" / "limen.cedar").unlink()
    for file in (folder / "tests").glob("*.yaml"):
        file.unlink()
    assert "administer" in system("policy", "plan", str(folder)).err


def test_apply_is_refused_on_top_of_another_bundle_than_was_planned(system: Limen, folder: Path) -> None:
    allow(folder, "group:staff", "group:nobody-else")
    done = system("policy", "apply", str(folder), "--no-plan", "--base", "0" * 64)
    assert done.code == 1
    assert "not active any more" in done.err


def plan(**more: object) -> dict[str, object]:
    names = ("refused", "findings", "guarded", "modes", "resources_added", "resources_removed")
    empty: dict[str, object] = {name: [] for name in names}
    ids = {"bundle": "b" * 64, "base": "a" * 64, "tests": 1, "approval": False, "loses": False}
    who_can = {"people": 1, "subjects": [], "rows": []}
    return {**empty, **ids, "who_can": who_can, "replay": None, **more}


def test_a_plan_without_changes_is_short() -> None:
    assert next(plan_report.render_text(plan())) == "Nobody would lose access."
    assert next(plan_report.render_text(plan(base="b" * 64))).startswith("This is the active bundle")


def test_nothing_in_the_markdown_is_live() -> None:
    evil = "x`|<script>alert(1)</script>\n# [a](http://evil) @everyone"
    row = {
        "effect": "removed",
        "action": "read",
        "resources": [evil],
        "who": 0,
        "count": 1,
        "code": "NO_PERMIT",
    }
    row |= {"before": [evil], "after": [], "needed": [], "needs": []}
    finding = {"file": evil, "line": 1, "column": 1, "message": evil, "remedy": evil}
    told = plan_report.render_markdown(
        plan(who_can={"people": 1, "subjects": [[evil]], "rows": [row]}, guarded=[evil], findings=[finding])
    )
    for line in told.splitlines():
        outside = "".join(line.split("`")[::2])
        assert "<script" not in outside and "](" not in outside and "@everyone" not in outside
        assert not line.startswith("# ")
        assert line.count("`") % 2 == 0
    table = [line for line in told.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}
