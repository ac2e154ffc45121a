"""A partner wants to stay: beyond their date, beyond their sponsor, or without either."""

from collections.abc import Iterator
from typing import Any

import pytest
from people_rig import PeopleRig

from limen.administrator.partners import DAY_S, INVITED_S, ORPHANED_S, TERM_MAX_S, Partners
from limen.core.identity_config import NoticeConfig
from limen.store import directory

WHY = "project"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("partners"))
    yield made
    made.control.close()


@pytest.fixture
def rig(shared: PeopleRig, request: pytest.FixtureRequest) -> PeopleRig:
    shared.host.patch("/v1/people/olga", json={"status": "active", "expires_at": None})
    return shared


def name_of(request: pytest.FixtureRequest) -> str:
    return "p" + str(abs(hash(request.node.name)) % 10**8)


def invited(rig: PeopleRig, name: str, days: float = 30, **more: Any) -> Any:
    body = {"id": name, "kind": "partner", "invite": True, "sponsor": "olga", "reason": WHY}
    return rig.host.post("/v1/people", json={**body, "expires_at": rig.clock.now() + days * DAY_S, **more})


def person(rig: PeopleRig, name: str) -> dict[str, Any]:
    return dict(rig.host.get(f"/v1/people/{name}").json())


def sweep(rig: PeopleRig) -> None:
    rig.control._identity._partners.sweep()


def events(rig: PeopleRig, kind: str, name: str) -> list[dict[str, Any]]:
    return list(rig.host.get("/v1/events", params={"kind": kind, "target": name, "since_s": 1e9}).json())


# --- terms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"sponsor": None}, "sponsor"),
        ({"sponsor": "ghost"}, "sponsor"),
        ({"sponsor": "themselves"}, "sponsor"),
        ({"expires_at": None}, "expires_at"),
        ({"days": TERM_MAX_S / DAY_S + 1}, "expires_at"),
        ({"kind": "contractor", "sponsor": None}, "sponsor"),
    ],
)
def test_p1_nobody_from_outside_comes_without_terms(
    rig: PeopleRig, request: pytest.FixtureRequest, more: dict[str, Any], field: str
) -> None:
    name = name_of(request)
    if more.get("sponsor") == "themselves":
        more = {"sponsor": name}
    answer = invited(rig, name, **more)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["detail"] and answer.json()["remedy"]
    assert rig.host.get(f"/v1/people/{name}").status_code == 404


@pytest.mark.parametrize(
    "change",
    [{"expires_at": None}, {"sponsor": None}, {"expires_at": 9e9}, {"sponsor": "ghost"}, {"sponsor": "mate"}],
)
def test_p1_no_change_leaves_them_without(
    rig: PeopleRig, request: pytest.FixtureRequest, change: dict[str, Any]
) -> None:
    name = name_of(request)
    invited(rig, name)
    if change.get("sponsor") == "mate":
        other = name + "x"
        invited(rig, other)
        change = {"sponsor": other}  # a partner answers for nobody
    before = person(rig, name)
    assert rig.host.patch(f"/v1/people/{name}", json=change).status_code == 422
    far = {"expires_at": 9e9, "reason": WHY}
    assert rig.host.post(f"/v1/people/{name}/extension", json=far).status_code == 422
    assert person(rig, name) == before
    assert rig.host.patch(f"/v1/people/{name}", json={"name": "New"}).status_code == 200


# --- the date ----------------------------------------------------------------------------------------


def test_p2_at_the_date_everything_ends_by_itself(rig: PeopleRig, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    link = invited(rig, name, days=2).json()["enrolment_link"]
    rig.host.put(f"/v1/groups/limen-auditors/members/{name}", json={})
    caller = rig.caller(name)
    session = rig.parts.sessions.list_live(name)[0][0]
    app_token, _ = rig.parts.sessions.issue_token(session, "wiki", "curl")
    path = link.partition("corp.example")[2]
    html = {"accept": "text/html"}
    assert rig.http.get(path, headers=html).status_code == 200
    assert caller.get("/v1/people").status_code == 200
    rig.clock.advance(2 * DAY_S)
    assert caller.get("/v1/people").status_code in (401, 403)
    assert rig.http.get(path, headers=html).status_code == 404, "the invitation, too"
    from limen.administrator.reassess_sessions import sweep_sessions

    sweep(rig)
    sweep_sessions(rig.parts.sessions, rig.clock.now())
    assert rig.parts.sessions.list_live(name) == ()
    with rig.control._store.read() as connection:
        from limen.core.tokens import token_hash
        from limen.store.sessions import load_app_session

        assert load_app_session(connection, token_hash(app_token.reveal())) is None
    assert len(events(rig, "person.expired", name)) == 1
    sweep(rig)
    assert len(events(rig, "person.expired", name)) == 1, "noted once"
    assert rig.host.post(f"/v1/people/{name}/enrolment-link", json={}).status_code == 409
    assert rig.host.post(f"/v1/people/{name}/invitation", json={}).status_code == 409


def test_an_end_that_has_come_is_moved_by_an_administrator_alone(
    rig: PeopleRig, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    invited(rig, name, days=1)
    rig.clock.advance(DAY_S)
    body = {"expires_at": rig.clock.now() + 5 * DAY_S, "reason": WHY}
    for who in ("olga", "heidi", "oscar", "audrey"):
        assert rig.caller(who).post(f"/v1/people/{name}/extension", body).status_code == 403
    assert rig.caller("root").post(f"/v1/people/{name}/extension", body).status_code == 200
    assert person(rig, name)["expires_at"] == body["expires_at"]
    assert events(rig, "person.extended", name)[-1]["actor"] == "root"
    past = {"expires_at": rig.clock.now(), "reason": WHY}
    assert rig.host.post(f"/v1/people/{name}/extension", json=past).status_code == 422


def test_an_invitation_lasts_a_week_and_no_longer_than_its_person(
    rig: PeopleRig, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    link = invited(rig, name, days=30).json()["enrolment_link"].partition("corp.example")[2]
    rig.clock.advance(INVITED_S - 1)
    assert rig.http.get(link, headers={"accept": "text/html"}).status_code == 200
    rig.clock.advance(1)
    assert rig.http.get(link, headers={"accept": "text/html"}).status_code == 404


def test_both_are_told_two_weeks_ahead_once_for_each_end(
    rig: PeopleRig, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(request)
    invited(rig, name, days=20)
    told: list[tuple[str, str]] = []

    def queue(_: Any, to: str, kind: str, **facts: Any) -> tuple[str, ...]:
        told.append((to, kind))
        return ()

    monkeypatch.setattr(rig.parts.desk.notices, "queue", queue)
    monkeypatch.setattr(rig.parts.desk.notices, "config", lambda: NoticeConfig())
    mine = [(name, "expiry"), ("olga", "expiry")]

    def count() -> int:
        told.clear()
        sweep(rig)
        return told.count(mine[0])

    assert count() == 0
    rig.clock.advance(6 * DAY_S)
    assert (count(), count()) == (1, 0)
    later = {"expires_at": rig.clock.now() + 20 * DAY_S, "reason": WHY}
    assert rig.host.post(f"/v1/people/{name}/extension", json=later).status_code == 200
    assert count() == 0
    rig.clock.advance(7 * DAY_S)
    assert count() == 1
    assert ("olga", "expiry") in told


# --- the sponsor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["suspended", "expired"])
def test_p3_who_loses_their_sponsor_ends_within_two_weeks(
    rig: PeopleRig, request: pytest.FixtureRequest, how: str
) -> None:
    name = name_of(request)
    invited(rig, name, days=90)
    ends_at = person(rig, name)["expires_at"]
    change = {"status": "suspended"} if how == "suspended" else {"expires_at": rig.clock.now() + 1}
    assert rig.host.patch("/v1/people/olga", json=change).status_code == 200
    rig.clock.advance(2)
    sweep(rig)
    assert person(rig, name)["expires_at"] == rig.clock.now() + ORPHANED_S
    assert events(rig, "person.orphaned", name)[-1]["data"]["sponsor"] == "olga"
    rig.clock.advance(DAY_S)
    sweep(rig)
    assert person(rig, name)["expires_at"] == rig.clock.now() + ORPHANED_S - DAY_S, "it does not move on"
    more = {"expires_at": rig.clock.now() + 60 * DAY_S, "reason": WHY}
    assert rig.host.post(f"/v1/people/{name}/extension", json=more).status_code == 422, "nobody answers"
    if how == "suspended":
        rig.host.patch("/v1/people/olga", json={"status": "active"})
        sweep(rig)
        assert person(rig, name)["expires_at"] == ends_at, "the sponsor is back"
    else:
        answer = rig.host.post(f"/v1/people/{name}/extension", json={**more, "sponsor": "paul"})
        assert answer.status_code == 200, answer.text
        sweep(rig)
        assert (person(rig, name)["sponsor"], person(rig, name)["expires_at"]) == ("paul", more["expires_at"])


def test_p3_a_sponsor_who_is_back_too_late_brings_nobody_back(
    rig: PeopleRig, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    invited(rig, name, days=90)
    rig.host.patch("/v1/people/olga", json={"status": "suspended"})
    sweep(rig)
    rig.clock.advance(ORPHANED_S)
    sweep(rig)
    rig.host.patch("/v1/people/olga", json={"status": "active"})
    sweep(rig)
    assert person(rig, name)["expires_at"] <= rig.clock.now()


def test_p3_somebody_who_was_given_another_end_meanwhile_keeps_that(
    rig: PeopleRig, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    invited(rig, name, days=90)
    rig.host.patch("/v1/people/olga", json={"status": "suspended"})
    sweep(rig)
    with rig.control._store.transaction("test", "shorter") as tx:
        directory.update_person(tx, name, expires_at=rig.clock.now() + DAY_S)
    rig.host.patch("/v1/people/olga", json={"status": "active"})
    sweep(rig)
    assert person(rig, name)["expires_at"] == rig.clock.now() + DAY_S


def test_a_sweep_with_nothing_to_do_writes_nothing(rig: PeopleRig) -> None:
    sweep(rig)
    head = rig.control._store.head()
    noted: list[str] = []
    real = Partners._care
    Partners._care = lambda self, name, ahead: noted.append(name)  # type: ignore[method-assign]
    try:
        sweep(rig)
    finally:
        Partners._care = real  # type: ignore[method-assign]
    assert (rig.control._store.head(), noted) == (head, [])
