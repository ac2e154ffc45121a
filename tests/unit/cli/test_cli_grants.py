"""The help desk's day: grants given, listed and revoked; people suspended, quarantined and released."""

import json
import re

import pytest
from cli_rig import Limen

WHY = ("--reason", "incident 7")


@pytest.fixture
def bob(system: Limen) -> str:
    """Somebody in no group, whoever ran before."""
    system("user", "add", "bob")
    return "bob"


def verdict(system: Limen, who: str) -> str:
    return system("policy", "explain", who, "read", "wiki").out.split(";")[0]


def test_a_grant_from_its_giving_to_its_end(system: Limen, bob: str) -> None:
    assert verdict(system, bob) == "deny (NO_PERMIT"
    given = system("grant", "add", "--to", "user:bob", "--on", "wiki", "--for", "8h", *WHY)
    assert (given.code, given.err) == (0, "")
    assert re.fullmatch(r"(grt_\w+): user:bob may read and write wiki until \d{4}-.*Z\.\n", given.out)
    name = given.out.split(":")[0]
    assert verdict(system, bob) == "allow (PERMITTED"
    rows = json.loads(system("grant", "list", "--user", "bob", "--json").out)
    assert [(row["id"], row["reason"], row["live"]) for row in rows] == [(name, "incident 7", True)]
    assert name in system("grant", "list", "--resource", "wiki").out
    assert name in system("user", "show", "bob").out
    assert system("grant", "revoke", name, "--reason", "done").out == f"Revoked {name}.\n"
    assert verdict(system, bob) == "deny (NO_PERMIT"
    assert name not in system("grant", "list").out
    assert name in system("grant", "list", "--all").out
    again = system("grant", "revoke", name, "--reason", "done")
    assert (again.code, again.out) == (1, "")
    assert name in again.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--for", "8h"], 2, "--reason"),
        ([*WHY], 1, "--for 8h"),
        (["--for", "8h", "--until", "2099-01-01", *WHY], 1, "not both"),
        (["--for", "91d", *WHY], 1, "for_s"),
        (["--for", "soon", *WHY], 1, "not a duration"),
        (["--until", "2001-01-01", *WHY], 1, "is past"),
        (["--until", "2099-01-01", *WHY], 1, "90 days"),
        (["--for", "8h", "--action", "connect", *WHY], 1, "no action 'connect'"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_in_one_sentence(
    system: Limen, bob: str, arguments: list[str], code: int, says: str
) -> None:
    done = system("grant", "add", "--to", "user:bob", "--on", "wiki", *arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert json.loads(system("grant", "list", "--user", "bob", "--json").out) == []


def test_suspend_quarantine_and_release_need_a_reason_and_take_effect(system: Limen) -> None:
    system("user", "add", "carol", "--group", "staff")
    assert verdict(system, "carol") == "allow (PERMITTED"
    for verb in ("suspend", "quarantine", "release"):
        assert system("user", verb, "carol").code == 2
    assert system("user", "suspend", "carol", *WHY).code == 0
    assert verdict(system, "carol") == "deny (SUBJECT_SUSPENDED"
    assert system("user", "quarantine", "carol", *WHY).code == 0
    shown = json.loads(system("user", "show", "carol", "--json").out)
    assert (shown["status"], shown["quarantined"], shown["grants"]) == ("suspended", True, [])
    assert system("user", "release", "carol", "--reason", "cleared").code == 0
    assert verdict(system, "carol") == "allow (PERMITTED"
    system("user", "quarantine", "carol", *WHY)
    assert verdict(system, "carol") == "deny (QUARANTINED"
    assert re.search(r"carol .* active +yes", system("user", "list").out)
    system("user", "set", "carol", "--status", "ended")
    gone = system("user", "release", "carol", *WHY)
    assert (gone.code, gone.out) == (1, "")
