"""Every listing: a table that nothing folds, and JSON that is nothing but JSON."""

import json

import pytest
from cli_rig import Limen

LONG = "somebody-with-a-very-long-username-indeed"

LISTINGS = {
    "user list": "USER",
    "group list": "GROUP",
    "session list": "Nobody is signed in.",
    "secret list": "NAME",
    "policy history": "SERIAL",
    "decisions search": "VERDICT",
    "event list": "KIND",
    "recovery list": "Nobody recovers at this moment.",
    "recovery lowered": "Nobody's trust is lowered.",
    "notice list": "Nothing waits.",
}
SHOWN = {
    "status": "bundle",
    f"user show {LONG}": LONG,
    "group show staff": "staff",
    "policy explain ada read wiki": "allow (PERMITTED; allow:wiki:group:staff)",
    "policy who-can read wiki": "read wiki: ",
    "policy who-can read *": "read limen: ",
}


@pytest.fixture(scope="module", autouse=True)
def people(served: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fill the directory once: somebody of staff, a name that no column holds, a secret."""
    from cli_rig import run

    state = f"--state={served}"
    for command in (
        ["user", "add", "ada", "--group", "staff"],
        ["user", "add", "amy", "--name", "[red]Amy[/red]", "--group", "staff"],
        ["user", "add", LONG, "--group", "staff", "--email", f"{LONG}@a-long-domain.corp.example"],
    ):
        assert run(*command, state).code in (0, 1)
    assert run("secret", "set", "wiki-basic", state, stdin="hunter2\n").code == 0


@pytest.mark.parametrize("command", LISTINGS)
def test_every_listing_is_a_table_or_a_json_list(system: Limen, command: str) -> None:
    table = system(*command.split())
    assert (table.code, table.err) == (0, "")
    assert LISTINGS[command] in table.out.splitlines()[0]
    listed = system(*command.split(), "--json")
    rows = json.loads(listed.out)
    assert (listed.code, type(rows)) == (0, list)
    lines = table.out.splitlines()[1:]
    grows = command in ("decisions search", "event list")  # the first reading is in the second
    assert len(lines) == len(rows) or grows, "one row, one line"


@pytest.mark.parametrize("command", SHOWN)
def test_everything_that_is_shown_is_shown_as_json_too(system: Limen, command: str) -> None:
    arguments = [part.strip("'") for part in command.split()]
    plain = system(*arguments)
    assert (plain.code, plain.err) == (0, "")
    assert SHOWN[command] in plain.out
    assert json.loads(system(*arguments, "--json").out)


def test_a_listing_to_a_pipe_is_never_folded(system: Limen) -> None:
    table = system("user", "list").out
    assert f"{LONG}@a-long-domain.corp.example" in table
    decisions = json.loads(system("decisions", "search", "--json", "--limit", "5").out)
    shown = system("decisions", "search", "--limit", "50").out
    assert all(row["id"] in shown for row in decisions)


def test_a_name_is_text_not_markup(system: Limen) -> None:
    assert "[red]Amy[/red]" in system("user", "list").out


def test_json_says_the_whole_id_where_a_table_shortens_it(system: Limen) -> None:
    (entry, *_) = json.loads(system("policy", "history", "--json").out)
    assert len(entry["id"]) == 64
    assert set(entry) == {"serial", "id", "applied_at", "actor", "reason"}
    assert entry["id"][:12] in system("policy", "history").out


def test_rows_within_a_field_stand_below_each_other(system: Limen) -> None:
    lines = [line for line in system("status").out.splitlines() if "upstream=" in line]
    assert len(lines) == len(json.loads(system("status", "--json").out)["apps"]) > 0


def test_a_filter_that_nobody_fits_says_so_and_is_an_empty_list(system: Limen) -> None:
    assert system("user", "list", "--status", "suspended").out.startswith("Nobody")
    assert json.loads(system("user", "list", "--status", "suspended", "--json").out) == []
    assert system("decisions", "search", "--text", "no-such-path").out == "No decision fits.\n"


def test_who_can_names_the_policies_and_the_conditions(system: Limen) -> None:
    said = system("policy", "who-can", "read", "wiki").out
    assert "second-factor: " in said
    assert "(allow:wiki:group:staff)" in said


def test_a_decision_is_shown_and_derived_again(system: Limen) -> None:
    rows = json.loads(system("decisions", "search", "--resource", "limen/people", "--json").out)
    shown = system("decisions", "show", rows[-1]["id"])
    assert shown.code == 0
    assert shown.out.splitlines()[-1].startswith("derived     allow PERMITTED: agrees")
    assert json.loads(system("decisions", "show", rows[-1]["id"], "--json").out)["agrees"] is True


def test_a_secret_is_listed_by_name_and_never_shown(system: Limen) -> None:
    for command in (["secret", "list"], ["secret", "list", "--json"]):
        said = system(*command).out
        assert "wiki-basic" in said
        assert "hunter2" not in said
