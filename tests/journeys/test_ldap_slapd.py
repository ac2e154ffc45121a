"""A real directory, Debian's slapd: read over verified TLS, page by page, and brought here one way."""

import asyncio
import json
import shlex
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_rig import run
from identity_world import PASSWORD, Browser, World
from slapd_rig import (
    BASE,
    READER,
    READER_PASSWORD,
    Slapd,
    group_dn,
    group_ldif,
    person_dn,
    person_ldif,
)

from limen.administrator.desk import seal_context
from limen.administrator.ldap_keeping import adopt, release
from limen.administrator.ldap_sync import LdapSync
from limen.core.entities import Status
from limen.core.errors import Conflict, LimenError, NotFound, Unavailable
from limen.core.identity_config import ClaimRule, LdapConfig, OidcConfig, SourceRules, SourcesConfig
from limen.core.secret import Secret
from limen.engine.starter import starter_files
from limen.information.identity import ldap, totp
from limen.information.identity.ldap import read_directory
from limen.services.control import Control, ControlOptions
from limen.services.state import StateDir
from limen.store import credentials, directory, identities, sessions, sources

PEOPLE = ("ada", "bo", "cy", "di", "ed", "flo", "gus", "hal", "ida", "jo", "kit", "leo")
STRANGE = r"uid=x\2c y\2b\5c\3b,ou=people," + BASE  # `x, y+\;`
LDIF = (
    "".join(person_ldif(one, departmentNumber="7" if one in ("ada", "bo") else "9") for one in PEOPLE)
    + f"dn: {STRANGE}\nobjectClass: inetOrgPerson\nuid: x, y+\\;\ncn: Strange\nsn: x\n\n"
    + group_ldif("devs", person_dn("ada"), person_dn("BO").replace("uid=", "UID="))
    + group_ldif("engineering", group_dn("devs"), STRANGE)
    + group_ldif("limen-admins", person_dn("cy"))
)
RULES = SourceRules(rules=(ClaimRule("departmentNumber", matches="7", group="dept-{}"),))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A directory that the tests of this file only read."""
    with Slapd(tmp_path_factory.mktemp("slapd"), LDIF, tls=True) as slapd:
        yield slapd


def config_of(slapd: Slapd, **more: object) -> LdapConfig:
    """Return how the bundle says it."""
    made = LdapConfig("corp", slapd.url, BASE, READER, "corp-ldap", ca_pem=slapd.ca_pem, people=RULES)
    return msgspec.structs.replace(made, **more)


def read(config: LdapConfig, password: str = READER_PASSWORD) -> dict[str, tuple[str, ...]]:
    """Return everybody's groups."""
    found = read_directory(config, Secret(password))
    return {one.username: one.groups for one in found.people}


class Synced:
    """A control that reads a directory."""

    def __init__(self, folder: Path, config: LdapConfig) -> None:
        self.world = World(folder)
        self.configure(config)
        self.sync = LdapSync(
            self.world.parts.desk.ledger,
            self.world.parts.desk.sessions,
            lambda: self.world.catalogue,
            lambda name: Secret(READER_PASSWORD),
            read=read_directory,
        )

    def configure(self, config: LdapConfig) -> None:
        """Put the directory into the bundle."""
        here = SourcesConfig(ldap=(config,))
        self.world.catalogue = msgspec.structs.replace(self.world.catalogue, sources=here)

    def run(self, **more: object) -> object:
        """Read it now."""
        return self.sync.sync("corp", actor="test", reason="test", **more)  # type: ignore[arg-type]

    def adopt(self, name: str, subject: str) -> None:
        """Let the directory keep somebody."""
        ledger = self.world.parts.desk.ledger
        adopt(ledger, self.sync.config("corp"), name, subject, actor="test", reason="the same person")

    def person(self, name: str) -> directory.Person:
        """Return somebody."""
        with self.world.store.read() as connection:
            return directory.get_person(connection, name)


def signed_in(world: World, username: str) -> Browser:
    """Return the browser of somebody whom the directory made, and who has set up sign-in."""
    with world.store.transaction("test", "set up sign-in") as tx:
        credentials.set_password(tx.connection, username, world.hasher.hash(Secret(PASSWORD)), tx.now)
        world.seeds[username] = totp.new_seed()
        sealed = world.sealer.seal(world.seeds[username], seal_context(username))
        credentials.set_totp(tx.connection, username, sealed, 0, tx.now)
    browser = world.browser()
    browser.sign_in(username)
    assert browser.get("/account").status_code == 200
    return browser


@pytest.mark.parametrize("way", ["ldaps", "starttls"])
def test_people_and_their_groups_are_read_over_verified_tls(served: Slapd, way: str) -> None:
    plain = {"url": served.plain_url, "start_tls": True}
    found = read(config_of(served, **(plain if way == "starttls" else {})))
    assert len(found) == len(PEOPLE) + 1
    assert found["ada"] == found["bo"] == ("devs", "engineering")
    assert found[r"x, y+\;"] == ("engineering",)
    assert found["cy"] == ("limen-admins",)


def test_every_page_is_read(served: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldap, "PAGE", 2)
    assert len(read(config_of(served))) == len(PEOPLE) + 1


@pytest.mark.parametrize(
    ("change", "password", "code"),
    [
        ({"ca_pem": None}, READER_PASSWORD, "LDAP_UNREACHABLE"),  # nobody vouches for the certificate
        ({"url": "localhost"}, READER_PASSWORD, "LDAP_UNREACHABLE"),  # it is of another name
        ({"url": "localhost", "start_tls": True}, READER_PASSWORD, "LDAP_UNREACHABLE"),
        ({}, "wrong", "LDAP_PASSWORD"),
        ({}, "", "LDAP_PASSWORD"),  # RFC 4513 5.1.2: it would bind as nobody
        ({"base": "dc=nowhere"}, READER_PASSWORD, "LDAP_BASE"),
        ({"people_filter": "(uid=*)(x"}, READER_PASSWORD, "LDAP_FILTER"),
    ],
)
def test_a_directory_that_cannot_be_trusted_is_not_read(
    served: Slapd, change: dict[str, object], password: str, code: str
) -> None:
    if change.get("url") == "localhost":
        base = served.plain_url if change.get("start_tls") else served.url
        change = {**change, "url": base.replace("127.0.0.1", "localhost")}
    with pytest.raises(LimenError) as refused:
        read(config_of(served, **change), password)
    assert refused.value.code == code
    assert READER_PASSWORD not in refused.value.message


def test_a_server_that_answers_in_part_is_not_believed(tmp_path: Path) -> None:
    with Slapd(tmp_path, LDIF, size_limit="5") as slapd:
        synced = Synced(tmp_path, config_of(slapd))
        with pytest.raises(Unavailable) as refused:
            synced.run()
        with synced.world.store.read() as connection:
            runs = sources.list_runs(connection, "ldap:corp")
            assert directory.count_people(connection) == 0
    assert refused.value.code == "LDAP_PARTIAL"
    assert [run.outcome for run in runs] == ["failed"]
    assert "source.failed" in synced.world.kinds()


def test_r3_a_referral_is_not_followed(tmp_path: Path) -> None:
    referral = (
        f"dn: ou=away,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\n"
        "ref: ldap://127.0.0.1:1/dc=evil\n\n"
    )
    with Slapd(tmp_path, LDIF + referral) as slapd:
        found = read_directory(config_of(slapd), Secret(READER_PASSWORD))
    assert (len(found.people), found.referrals) == (len(PEOPLE) + 1, 2)  # people's search, and groups'


def test_joiners_movers_and_leavers(tmp_path: Path) -> None:
    with Slapd(tmp_path, LDIF) as slapd:
        synced = Synced(tmp_path, config_of(slapd, attributes={"department": "departmentNumber"}))
        world = synced.world
        with world.store.transaction("test", "somebody of ours") as tx:
            directory.create_person(tx, "hal", name="Our own Hal")
            directory.create_group(tx, "local")

        tried = synced.run(dry_run=True)
        assert len(tried.created) == len(PEOPLE)  # type: ignore[attr-defined]
        with world.store.read() as connection:
            assert directory.count_people(connection) == 1  # a dry run changes nothing

        first = synced.run()
        assert sorted(first.created) == sorted({*PEOPLE, "x-y"} - {"hal"})  # type: ignore[attr-defined]
        ada = synced.person("ada")
        assert (ada.source, ada.groups) == ("ldap:corp", ("dept-7", "devs", "engineering"))
        assert (ada.email, ada.attributes) == ("ada@corp.example", {"department": "7"})
        assert synced.person("cy").groups == ()  # no directory gives a role of Limen
        hal = synced.person("hal")
        assert (hal.name, hal.source) == ("Our own Hal", "local")  # nobody is taken over
        cure = next(one["cure"] for one in first.problems if "hal" in one["why"])  # type: ignore[attr-defined]
        subject = shlex.split(cure.split("`")[1])[5]

        second = synced.run()
        assert (second.created, second.changed) == ((), ())  # type: ignore[attr-defined]

        with world.store.transaction("test", "local") as tx:
            directory.add_member(tx, "local", "ada")
        slapd.change(
            f"dn: {group_dn('devs')}\nchangetype: modify\ndelete: member\nmember: {person_dn('ada')}\n"
        )
        slapd.change(f"dn: {person_dn('ada')}\nchangetype: modrdn\nnewrdn: uid=ada.king\ndeleteoldrdn: 1\n")
        slapd.remove(person_dn("bo"))
        synced.adopt("hal", subject)
        browser = signed_in(world, "bo")
        third = synced.run()
        assert (third.suspended, set(third.changed)) == (("bo",), {"ada", "hal"})  # type: ignore[attr-defined]
        assert synced.person("ada").groups == ("dept-7", "local")  # renamed there, the same person here
        assert synced.person("bo").status is Status.SUSPENDED
        assert synced.person("bo").groups == ()
        assert synced.person("hal").name == "Hal"
        assert "person.suspended" in world.kinds()
        with world.store.read() as connection:
            assert not sessions.list_sessions(connection, "bo")  # a leaver's sessions end
        assert browser.get("/account").status_code != 200

        release(world.parts.desk.ledger, "corp", "hal", actor="test", reason="ours again")
        assert synced.person("hal").source == "local"


def test_whoever_another_source_keeps_gets_groups_alone(tmp_path: Path) -> None:
    with Slapd(tmp_path, LDIF) as slapd:
        config = config_of(slapd)
        subject = {
            one.username: one.subject for one in read_directory(config, Secret(READER_PASSWORD)).people
        }
        synced = Synced(tmp_path, config)
        oidc = OidcConfig("corp", "https://id.example", "limen", people=SourceRules(groups_from="ldap:corp"))
        synced.world.catalogue = msgspec.structs.replace(synced.world.catalogue, oidc=(oidc,))
        with synced.world.store.transaction("test", "signed in elsewhere") as tx:
            directory.create_person(tx, "bo.w", name="Bo W", source="oidc:corp")
            directory.update_person(tx, "bo.w", groups_unknown="oidc:corp")
            identities.link_identity(tx, "ldap:corp", subject["bo"], "bo.w")
        synced.run()
        bo = synced.person("bo.w")
        assert (bo.name, bo.source, bo.groups_unknown) == ("Bo W", "oidc:corp", "")
        assert bo.groups == ("dept-7", "devs", "engineering")
        slapd.remove(person_dn("bo"))
        synced.run()
        bo = synced.person("bo.w")
        assert (bo.status, bo.groups) == (Status.ACTIVE, ())  # the other source says whether they are here


def test_l3_an_emptied_directory_suspends_nobody(tmp_path: Path) -> None:
    with Slapd(tmp_path, LDIF) as slapd:
        synced = Synced(tmp_path, config_of(slapd))
        synced.run()
        emptied = config_of(slapd, people_filter="(&(objectClass=inetOrgPerson)(uid=a*))")
        synced.configure(emptied)
        stopped = synced.run()
        assert stopped.outcome == "stopped"  # type: ignore[attr-defined]
        assert synced.person("bo").status is Status.ACTIVE
        assert "source.stopped" in synced.world.kinds()
        synced.run(at_most_percent=100)
        assert synced.person("bo").status is Status.SUSPENDED
        synced.configure(config_of(slapd))
        back = synced.run()
        assert "bo" in back.released  # type: ignore[attr-defined]
        assert synced.person("bo").status is Status.ACTIVE


def test_a_directory_is_read_when_its_time_has_come(tmp_path: Path) -> None:
    with Slapd(tmp_path, LDIF) as slapd:
        synced = Synced(tmp_path, config_of(slapd))
        assert [synced.sync.run_due(), synced.sync.run_due()] == [1, 0]
        synced.world.clock.advance(901)
        assert synced.sync.run_due() == 1
    synced.world.clock.advance(901)
    assert synced.sync.run_due() == 1  # it is down: said, and nobody is gone
    with synced.world.store.read() as connection:
        assert sources.list_runs(connection, "ldap:corp")[0].outcome == "failed"
        owner = identities.list_identities(connection, "ada")
    assert synced.person("ada").status is Status.ACTIVE
    with pytest.raises(Conflict):
        synced.adopt("cy", owner[0].subject)
    with pytest.raises(NotFound):
        synced.sync.config("other")


def test_a_running_system_reads_its_directory_and_reports_on_it(tmp_path: Path) -> None:
    with Slapd(tmp_path / "slapd", LDIF, tls=True) as slapd:
        folder = tmp_path / "bundle"
        files = dict(starter_files("corp.example"))
        files["limen.yaml"] += f"""
ldap:
  corp:
    url: {slapd.url}
    base: {BASE}
    bind_dn: {READER}
    bind_secret: corp-ldap
    ca: corp-ca.pem
"""
        for name, text in {**files, "corp-ca.pem": slapd.ca_pem or ""}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with control(folder) as state:
            where = f"--state={state}"
            assert run("secret", "set", "corp-ldap", where, stdin=READER_PASSWORD).code == 0
            done = run("source", "sync", "corp", where)
            assert (done.code, done.err) == (0, "")
            assert f"{len(PEOPLE) + 1} people and 3 groups were read." in done.out
            (row,) = (one for one in as_json("source", "list", where) if one["source"] == "ldap:corp")
            assert (row["people"], row["last"]["outcome"]) == (len(PEOPLE) + 1, "applied")
            page = as_json("user", "show", "ada", where)
            assert page["listed_by"][0]["says"] == "active"
            assert {"group": "engineering", "source": "ldap:corp"} in page["memberships"]
            found = as_json("identity", "report", where)
            assert "engineering" in {one["group"] for one in found["coverage"]}
            assert found["coverage"][0]["mfa"] == 0


def as_json(*command: str) -> Any:
    """Return what a command prints."""
    done = run(*command, "--json")
    assert done.code == 0, done.err
    # The control of this test runs in the same process, and its log may have a line of its own there.
    lines = done.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line[:1] in ("[", "{"))
    return json.JSONDecoder().raw_decode("\n".join(lines[first:]))[0]


@contextmanager
def control(bundle: Path) -> Iterator[Path]:
    """Run control in this process; yield its state folder."""
    with tempfile.TemporaryDirectory(prefix="ll-") as name:
        options = ControlOptions(state=Path(name) / "s", bundle=bundle, public_port=8443, metrics=None)
        loop = asyncio.new_event_loop()
        running = Control(StateDir.create(options.state), options)
        loop.run_until_complete(running.start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield options.state
        finally:
            asyncio.run_coroutine_threadsafe(running.stop(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(30)
            loop.close()
