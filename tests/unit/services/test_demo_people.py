"""The demo's people: made once per state folder, and able to sign in."""

from pathlib import Path

from limen.administrator.desk import seal_context
from limen.core.clock import FakeClock
from limen.information.identity.passwords import PasswordHasher, PasswordVerdict, parse_new_password
from limen.services.demo.control import enrol_people
from limen.services.demo.guide import ready_content, render_guide
from limen.services.demo.people import load_people
from limen.services.state import StateDir
from limen.store import directory
from limen.store.credentials import load_credentials
from limen.store.database import Store
from limen.store.sealing import CREDENTIALS, Sealer


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    first = load_people(file)
    assert load_people(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    other = load_people(tmp_path / "other.json")
    assert {p.password.reveal() for p in first} & {p.password.reveal() for p in other} == set()


def test_their_passwords_would_be_accepted_from_anybody(tmp_path: Path) -> None:
    for person in load_people(tmp_path / "people.json"):
        parse_new_password(person.password.reveal(), with_second_factor=False)


def test_nothing_secret_is_in_their_repr(tmp_path: Path) -> None:
    for person in load_people(tmp_path / "people.json"):
        assert person.password.reveal() not in repr(person)
        assert person.totp_seed.reveal() not in repr(person)


def test_they_are_enrolled_once_with_password_and_seed(tmp_path: Path) -> None:
    state = StateDir.create(tmp_path / "state")
    people = load_people(tmp_path / "people.json")
    sealer = Sealer(state.key(CREDENTIALS))
    with Store.open(state.database, FakeClock()) as store:
        assert enrol_people(store, sealer, people)
        assert not enrol_people(store, sealer, people)
        with store.read() as connection:
            assert directory.count_people(connection) == len(people)
            grace = next(person for person in people if person.role.username == "grace")
            kept = load_credentials(connection, "grace")
    assert kept is not None
    assert PasswordHasher().check(kept.password_hash, grace.password) is PasswordVerdict.RIGHT
    assert kept.totp is not None
    assert sealer.open(kept.totp.seed_sealed, seal_context("grace")) == grace.totp_seed


def test_the_ready_file_says_what_the_automation_needs(tmp_path: Path) -> None:
    shown = {person.role.username: person.shown() for person in load_people(tmp_path / "people.json")}
    assert set(shown) == {"ada", "grace", "joan", "linus"}
    assert set(shown["ada"]) == {"username", "password", "totp_secret", "groups"}
    assert shown["grace"]["groups"] == ["staff", "hr"]


def test_the_greeting_names_every_app_person_and_way_in(tmp_path: Path) -> None:
    people = load_people(tmp_path / "people.json")
    apps = {"wiki": "https://wiki.limen.localhost:8443"}
    ready = ready_content(
        domain="limen.localhost",
        port=8443,
        ca_file="/state/ca/ca.pem",
        auth_url="https://auth.limen.localhost:8443",
        apps=apps,
        services={"ledger": "ledger.limen.localhost:8443"},
        people=people,
        pid=1,
        state_dir="/state",
    )
    wanted = "domain port ca_file auth_url apps services people pid state_dir"
    assert list(ready) == wanted.split()
    guide = render_guide(ready, people)
    for person in people:
        assert person.password.reveal() in guide
        assert person.totp_seed.reveal() in guide
    for needed in (
        *apps.values(),
        "ssh -L 8443:127.0.0.1:8443",
        "Safari",
        "auth.limen.localhost wiki.",
        "connect ledger",
    ):
        assert needed in guide
