"""Laws of machines: whose a claim is, what an address is, and that a stream lives as long as it may."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from machine_world import LIMEN_YAML, TRUST, MachineWorld

from limen.core.entities import Status
from limen.core.errors import Invalid
from limen.core.spiffe import parse_spiffe_id
from limen.information.identity.dpop import is_same_address
from limen.information.identity.workload_claims import matching_workloads

plain = st.text("abcxyz.-_*?[]\\", max_size=12)
hostile = st.text("ab/:*.\n", max_size=16)


@given(plain, hostile)
def test_w2_no_part_of_a_name_passes_for_two(name: str, tail: str) -> None:
    """`*` stands for one part: what it stands for holds no `/` and no `:`."""
    rules = {"ci": {"sub": "repo:acme/*:ref:main"}}
    assert matching_workloads(rules, {"sub": f"repo:acme/{name}:ref:main"}) == ("ci",)
    spilled = matching_workloads(rules, {"sub": f"repo:acme/{tail}:ref:main"})
    assert bool(spilled) == ("/" not in tail and ":" not in tail)


@given(st.dictionaries(plain, st.text("ab*", max_size=4), min_size=1), st.dictionaries(plain, plain))
def test_w1_a_token_is_of_a_workload_when_all_its_claims_fit(wanted: Any, claims: Any) -> None:
    found = matching_workloads({"w": wanted}, claims)
    each = [matching_workloads({"w": {name: value}}, claims) for name, value in wanted.items()]
    assert bool(found) == all(each)
    assert matching_workloads({"w": {}}, claims) == (), "a rule that asks for nothing is nobody's"


@given(st.text("abcAB/:.@?#%1 \\-_", max_size=40))
def test_an_id_that_is_taken_is_written_in_one_way_only(tail: str) -> None:
    text = f"spiffe://{tail}"
    try:
        found = parse_spiffe_id(text)
    except Invalid:
        return
    assert str(found) == text
    assert not set(tail) & set("@?#%: \\") and "//" not in tail and not tail.endswith("/")


@given(st.text("ab/.%", max_size=10), st.text("ab/.%", max_size=10))
def test_p1_two_addresses_are_one_only_if_their_paths_are(one: str, other: str) -> None:
    same = is_same_address(f"https://WIKI.example:443/{one}?q", f"https://wiki.example/{other}")
    assert same == (one == other)
    assert not is_same_address(f"http://wiki.example/{one}", f"https://wiki.example/{one}")


ACTIONS = ("suspend", "activate", "quarantine", "release", "forbid", "permit", "end", "wait", "unmap", "map")


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=7))
def test_r2_r5_a_machines_stream_lives_exactly_as_long_as_it_could_be_opened_again(
    actions: list[str],
) -> None:
    """For a token's stream and for an SVID's, after each change: cut at once, and not before."""
    with tempfile.TemporaryDirectory() as folder:
        world = MachineWorld(Path(folder))
        token = world.token("billing")
        shown = world.certificate()
        ways = [{"authorization": f"Bearer {token}"}, shown]
        held: list[Any] = [None, None]
        for action in ("", *actions):
            _do(world, action)
            for at, way in enumerate(ways):
                live = held[at] is not None and world.is_live(held[at])
                again = world.open(world.request(host="ledger", method="CONNECT", **way))
                if held[at] is not None:
                    assert live == (again is not None), (action, at)
                held[at] = again


def _do(world: MachineWorld, action: str) -> None:
    def change(**fields: Any) -> None:
        world.workloads.change("billing", fields, actor="test", reason="law")

    if action in ("suspend", "activate"):
        change(status=Status.SUSPENDED if action == "suspend" else Status.ACTIVE)
    elif action in ("quarantine", "release"):
        change(quarantined=action == "quarantine")
    elif action == "end":
        for one in world.keys.sessions("billing"):
            world.keys.end_session(one.render_fact().session_id, actor="test", reason="law")
    elif action == "wait":
        world.later(700)
    elif action:
        yaml = LIMEN_YAML
        if action == "forbid":
            yaml = yaml.replace(
                "protocol: postgres, allow: [workload:ci, workload:billing]", "protocol: postgres"
            )
        if action == "unmap":
            yaml = yaml.replace(f"spiffe://{TRUST}/billing", f"spiffe://{TRUST}/other")
        world.apply({**world.files, "limen.yaml": yaml})
