"""Facts of a report, read from a database that has some of everything."""

from pathlib import Path

import pytest
from cures import runs
from identity_world import World
from sqlalchemy import insert, update

from limen.administrator import links
from limen.assurance.identity_facts import DAY_S, IdentityFacts, PersonFacts, Says
from limen.assurance.identity_moves import find_moves
from limen.assurance.identity_read import Context, find_neighbours, read_facts
from limen.assurance.identity_report import assess_identity
from limen.assurance.identity_work import collect_use
from limen.core.entities import Kind
from limen.core.errors import Conflict
from limen.core.ids import EntityRef
from limen.core.record import DecisionRecord
from limen.store import credentials, directory, workloads
from limen.store import identity_tables as it
from limen.store import tables as t
from limen.store.grants import add_grant
from limen.store.source_writes import PersonWrite, write_people
from limen.store.sources import Says as Word
from limen.store.sources import SourceAccount


def person(facts: IdentityFacts, name: str) -> PersonFacts:
    """Return one of them."""
    return next(one for one in facts.people if one.id == name)


def test_everything_about_people_is_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("ada")
    world.add("bo", with_totp=False)
    with world.store.transaction("test", "a directory") as tx:
        account = SourceAccount("ldap:corp", "ada", Word.DISABLED, "other@corp.example", tx.now)
        seen = directory.get_person(tx.connection, "ada")
        write_people(
            tx, "ldap:corp", [PersonWrite("ada", "s1", seen=seen, groups=("devs",), account=account)]
        )
        directory.create_person(
            tx,
            "pat",
            kind=Kind.PARTNER,
            sponsor="bo",
            email="BO@limen.localhost",
            attributes={"department": "a"},
        )
        directory.create_group(tx, "staff")
        directory.add_member(tx, "staff", "pat")
        directory.nest(tx, "devs", "staff")
        add_grant(
            tx,
            principal=EntityRef("User", "pat"),
            actions=["read"],
            resource=EntityRef("App", "wiki"),
            expires_at=tx.now + 100 * DAY_S / 2,
        )
        row = {"client": "okta", "kind": "User", "display": "", "owned": True, "locked": False, "version": 1}
        document = '{"active": false, "emails": [{"value": "x@y.example"}]}'
        tx.connection.execute(
            insert(it.scim_resource).values(
                **row,
                id="r1",
                target="bo",
                user_name="bo",
                created_at=1.0,
                modified_at=1.0,
                document=document,
            )
        )
        credentials.add_passkey(tx.connection, a_passkey(tx.now))
    world.clock.advance(10)
    with world.store.transaction("test", "pat moves") as tx:
        directory.update_person(tx, "pat", attributes={"department": "b"})
    with world.store.read() as connection:
        facts = read_facts(connection, world.clock.now(), Context(sources=("ldap:corp",)))
        assert find_neighbours(connection, "pat") == {"pat", "bo"}
        alone = read_facts(connection, world.clock.now(), Context(), only=frozenset({"pat"}))
    ada, bo, pat = (person(facts, name) for name in ("ada", "bo", "pat"))
    assert ada.factors == ("hardware-key", "password", "totp")
    assert ada.given == {"devs": "ldap:corp"}
    assert ada.says == (Says("ldap:corp", False, "other@corp.example"),)
    assert bo.factors == ("password",)
    assert bo.says == (Says("scim:okta", False, "x@y.example"),)
    assert (pat.moved, pat.moved_at) == ("department a → b", world.clock.now())
    assert pat.kept[0] == "group staff"
    assert pat.kept[1].endswith('on App::"wiki"')
    assert facts.parents == {"devs": ("staff",)}
    assert alone.people == (pat,)
    about = {(row.check, row.about) for row in assess_identity(facts).rows}
    assert {("disagree", "ada"), ("disagree", "bo"), ("movers", "pat")} <= about


def a_passkey(now: float) -> credentials.StoredPasskey:
    """Return a passkey of ada's that cannot leave its device."""
    return credentials.StoredPasskey(
        "id", "ada", b"k", 0, "0" * 36, "key", backed_up=False, created_at=now, attested=True, bound=True
    )


def test_machines_and_secrets_are_read_and_each_is_renewed_by_a_command(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("ada")
    with world.store.transaction("test", "machines") as tx:
        workloads.create_workload(tx, "ci", owner="ada", description="builds")
        token = workloads.add_token(tx, "ci", "h1", label="t", life_s=360 * DAY_S)  # type: ignore[arg-type]
        tx.connection.execute(
            insert(t.app_secret).values(name="ldap", value_sealed="x", set_at=tx.now, actor="a")
        )
        used = {"used_at": tx.now + 5}
        tx.connection.execute(update(t.workload_token).values(**used))
        made = {"created_at": tx.now, "expires_at": tx.now + 700 * DAY_S, "actor": "a"}
        tx.connection.execute(
            insert(it.scim_token).values(token_hash="h", id="st", client="okta", name="", **made)
        )
    with world.store.read() as connection:
        facts = read_facts(connection, world.clock.now() + 366 * DAY_S, Context())
    assert facts.workloads is not None
    assert facts.secrets is not None
    (ci,) = facts.workloads
    assert (ci.owner, ci.purpose, ci.used_at) == ("ada", "builds", token.created_at + 5)
    assert {one.kind for one in facts.secrets} == {"stored secret", "workload token", "SCIM token"}
    rows = [row for row in assess_identity(facts).rows if row.check == "secrets"]
    assert {row.about for row in rows} == {"stored secret:ldap", "SCIM token:st"}  # the token's time is over
    for one in facts.secrets:
        for command in one.renew.split("`")[1::2]:
            assert runs(command.removeprefix("limen ")), command


def test_a_move_is_another_department_or_other_groups() -> None:
    def at(number: int, groups: list[str], **attributes: str) -> tuple[str, dict[str, object], float]:
        return ("ada", {"groups": groups, "attributes": attributes}, float(number))

    assert find_moves([at(1, ["a"]), at(2, ["a"], department="x")]) == {}  # a first one is no move
    assert find_moves([at(1, ["a"]), at(2, ["a", "b"])]) == {}  # more is no move
    moved = find_moves([at(1, ["a", "k"], department="x"), at(2, ["b", "k"], department="y")])["ada"]
    assert (moved.at, moved.groups) == (2.0, {"k"})
    assert moved.what == "department x → y; from a to b"


def test_what_a_machine_did_on_a_route_it_did_on_the_app() -> None:
    def record(resource: str, verdict: str = "allow", subject: str = 'Workload::"ci"') -> DecisionRecord:
        return DecisionRecord(
            "d", 1.0, "gw", "gateway", verdict, "PERMITTED", "b", "", "read", resource, subject=subject
        )

    did = collect_use(
        [
            record('Route::"wiki/pages"'),
            record('App::"pay"', "deny"),
            record('App::"pay"', subject='User::"ada"'),
        ]
    )
    assert did == {"ci": {'read Route::"wiki/pages"', 'read App::"wiki"'}}


def test_emergency_access_is_nobody_unless_somebody_made_a_person_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.store.transaction("test", "as sealing makes it") as tx:
        directory.create_person(tx, "break-glass")
        directory.create_group(tx, "limen-break-glass")
        directory.add_member(tx, "limen-break-glass", "break-glass")
    with pytest.raises(Conflict, match="nobody who signs in"):
        links.make_link(world.parts.desk, "break-glass", actor="admin")
    with world.store.read() as connection:
        assert read_facts(connection, world.clock.now(), Context()).people == ()
    with world.store.transaction("test", "somebody gave it a password") as tx:
        credentials.set_password(tx.connection, "break-glass", "hash", tx.now)
    with world.store.read() as connection:
        assert [one.id for one in read_facts(connection, world.clock.now(), Context()).people] == [
            "break-glass"
        ]
