"""`limen identity report`, `limen source`, and the page of `limen user show`."""

import json
from pathlib import Path

from cli_rig import Limen

WHY = ("--reason", "test")


def test_a_csv_is_reported_on_without_any_system(limen: Limen, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("username,groups,factors\nada,Admins,password\nbo,staff,passkey\n")
    done = limen("identity", "report", "--csv", "people.csv")
    assert (done.code, done.err) == (0, "")
    assert "ada is privileged by Admins, and has password: one factor at most." in done.out
    found = json.loads(limen("identity", "report", "--csv", "people.csv", "--json").out)
    everybody = found["coverage"][0]
    assert (everybody["group"], everybody["mfa"], everybody["people"]) == ("", 1, 2)
    named = json.loads(
        limen("identity", "report", "--csv", "people.csv", "--privileged", "staff", "--json").out
    )
    assert [row["about"] for row in named["rows"]] == ["bo"]
    assert limen("identity", "report", "--csv", "people.csv", "--html", "r.html").code == 0
    assert "<h1>Identity report</h1>" in (tmp_path / "r.html").read_text()
    (tmp_path / "x.scim").write_text("[]")
    wrong = limen("identity", "report", "--scim", "x.scim")
    assert (wrong.code, wrong.out) == (1, "")
    both = limen("identity", "report", "--scim", "x.scim", "--csv", "people.csv")
    assert "Only one file" in both.err


def test_a_system_is_reported_on_with_its_machines(system: Limen) -> None:
    system("user", "add", "olga", "--group", "staff")
    assert system("workload", "create", "robot", "--owner", "olga").code == 0
    found = json.loads(system("identity", "report", "--json", "--never-used", "1d").out)
    assert {one["group"] for one in found["coverage"]} >= {"", "staff"}
    rows = [row for row in found["rows"] if row["about"] == "robot"]
    assert any("Nothing says what robot is for" in row["what"] for row in rows)
    assert all(row["cure"] for row in found["rows"])
    assert not any("What machines may" in one["what"] for one in found["unknown"])
    quick = json.loads(system("identity", "report", "--json", "--no-use").out)
    assert any("What machines may" in one["what"] for one in quick["unknown"])
    table = system("identity", "report", "--no-use")
    assert (table.code, table.err) == (0, "")
    assert "Privileged accounts, and their factors" in table.out


def test_all_about_a_person_is_on_one_page(system: Limen) -> None:
    system("user", "add", "pavel", "--group", "staff", "--email", "pavel@corp.example")
    system("workload", "create", "pavels", "--owner", "pavel")
    system("grant", "add", "--to", "user:pavel", "--on", "wiki", "--for", "8h", *WHY)
    page = json.loads(system("user", "show", "pavel", "--json").out)
    assert page["memberships"] == [{"group": "staff", "source": "local"}]
    assert (page["source"], page["workloads"], page["has_role"]) == ("local", ["pavels"], False)
    assert [(one["name"], one["opens"]) for one in page["opens"]] == [("wiki", False)]  # no factor yet
    shown = system("user", "show", "pavel").out
    for word in ("pavel@corp.example", "pavels", "user:pavel", "By nothing here.", "Not signed in."):
        assert word in shown
    assert "argon2" not in json.dumps(page)


def test_sources_are_listed(system: Limen) -> None:
    rows = json.loads(system("source", "list", "--json").out)
    assert rows[0]["source"] == "local"
    assert rows[0]["people"] > 0
    missing = system("source", "sync", "corp")
    assert missing.code == 1
    assert "no directory 'corp'" in missing.err
    assert system("source", "adopt", "corp", "ada", "x").code == 2  # a reason is required
    assert system("source", "release", "corp", "nobody", *WHY).code == 1
