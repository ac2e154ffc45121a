"""D6 replay agrees: what a replay says is what `decide` gives when the candidate is active."""

from typing import Any

import msgspec
from engine_strategies import TIME_FORMS, UNMEMOISABLE, any_facts, instants, policy_texts
from engine_world import NOON, TABLE, bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limen.core.catalogue import AppConfig, Catalogue, RouteConfig, ServiceConfig
from limen.core.decision import AccessRequest, Decision, Facts
from limen.core.entities import Entity, close_entity
from limen.core.ids import DecisionId, EntityRef
from limen.core.record import DecisionRecord, InputsRecord
from limen.core.resources import RouteTable, catalogue_entities
from limen.engine.bundle import Bundle
from limen.engine.decide import decide
from limen.engine.policies import compile_policies
from limen.engine.replay import stable_inputs
from limen.engine.replay_run import Replay
from limen.engine.schema import cedar_schema

MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_LABELS = st.sampled_from(((), ("phi",), ("phi", "pii")))
_SEGMENTS = st.sampled_from((None, "prod", "prod-data"))
_OWNERS = st.sampled_from((None, "ada", "eve"))
_ROUTES = st.sampled_from(
    (
        (),
        (RouteConfig("edit", "/edit/**", action="admin", labels=("phi",)),),
        (RouteConfig("exports", "/exports", ("GET",)), RouteConfig("edit", "/*/edit", action="write")),
    )
)
_STALE = st.sampled_from((20.0, 300.0))


@st.composite
def candidates(draw: Any) -> Bundle:
    """A bundle whose catalogue differs from what was recorded in all that a catalogue says."""
    apps = {
        name: AppConfig(
            name,
            f"{name}.corp.example",
            ("http://127.0.0.1:1",),
            owner=draw(_OWNERS),
            labels=draw(_LABELS),
            segment=draw(_SEGMENTS),
            staleness_max_s=draw(_STALE),
            routes=draw(_ROUTES),
        )
        for name in draw(st.sampled_from((("wiki",), ("wiki", "payroll"))))
    }
    service = ServiceConfig(
        "ledger-db", "ledger-db.corp.example", "db", 5432, "postgres", labels=draw(_LABELS)
    )
    catalogue = Catalogue(
        domain="corp.example",
        apps=apps,
        services={service.name: service},
        attributes=draw(st.sampled_from(({}, {"department": "String"}))),
        segments={"prod": None, "prod-data": "prod"},
    )
    made = bundle("\n".join(draw(policy_texts(TIME_FORMS, UNMEMOISABLE))))
    return msgspec.structs.replace(made, catalogue=catalogue, cedar_schema=cedar_schema(catalogue))


HOSTS = ("wiki.corp.example", "payroll.corp.example", "ledger-db.corp.example", "gone.corp.example")
PATHS = ("/", "/edit/x", "/exports", "/a/edit", "/Edit/x", "/ex%70orts", "/a%2Fedit")


def expected(candidate: Bundle, record: DecisionRecord, about: Facts) -> str:
    """What the candidate's gateway would say: written down once more, without any cache."""
    catalogue, entities = candidate.catalogue, catalogue_entities(candidate.catalogue)
    app = next((app for app in catalogue.apps.values() if app.host == record.host), None)
    service = next((one for one in catalogue.services.values() if one.host == record.host), None)
    if service is not None and record.method == "CONNECT":
        resource, action, stale = service.ref, "connect", service.staleness_max_s
    elif app is not None and record.method != "CONNECT" and "%" not in record.path:
        match = RouteTable(app).match(record.method, record.path)
        lowered = RouteTable(app).match(record.method, record.path.lower())
        if lowered != match:
            return "deny"
        resource, action, stale = match.resource, match.action, app.staleness_max_s
        stale = min(stale, 30.0) if action == "admin" else stale
    else:
        return "deny" if "%" not in record.path or app is None or record.method == "CONNECT" else "any"
    people = {
        entity.ref: entity
        for closure in (about.subject, about.resource)
        if closure is not None
        for entity in closure.entities
        if entity.ref.type in ("User", "Group")
    }
    assert about.subject is not None
    people |= {entity.ref: entity for entity in about.subject.entities if entity.ref == about.subject.root}
    closure = close_entity(resource, lambda ref: entities.get(ref) or people.get(ref) or TABLE.get(ref))
    now = msgspec.structs.replace(about, resource=closure, staleness_max_s=stale)
    asked = AccessRequest(
        DecisionId(record.id), record.at, about.subject.root, action, resource, ip=record.ip
    )
    return decide(asked, now, compile_policies(candidate)).verdict.value


@MANY
@given(
    candidates(),
    any_facts(),
    st.lists(
        st.tuples(st.sampled_from(HOSTS), st.sampled_from(PATHS), instants(), st.sampled_from((1.0, 60.0))),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(("GET", "POST", "CONNECT")),
)
def test_d6_replay_agrees(
    candidate: Bundle, about: Facts, asked: list[tuple[str, str, float, float]], method: str
) -> None:
    assert about.subject is not None
    inputs = InputsRecord("in1", stable_inputs(_question(about), about, compile_policies(candidate)))
    inputs = msgspec.json.decode(msgspec.json.encode(inputs), type=InputsRecord)
    told = []
    for number, (host, path, at, age_s) in enumerate(asked):
        record = DecisionRecord(
            id=f"{number:032x}",
            at=at,
            node="n",
            point="gateway",
            verdict="allow",
            code="PERMITTED",
            bundle="another",
            inputs="in1",
            action="read",
            resource=str(about.resource.root),
            subject=str(about.subject.root),
            method=method,
            host=host,
            path="" if method == "CONNECT" and host.startswith("ledger") else path,
            ip=about.network.ip,
            age_s=age_s,
        )
        told.append((record, expected(candidate, record, _clean(candidate, about, age_s))))
    replay = Replay(candidate)
    replay.feed(inputs)
    for record, _ in told:
        replay.feed(record)
    report = replay.report()
    assert report.derived == len(told)
    lost = {sample: one for one in report.differences for sample in one.samples}
    for record, verdict in told:
        if verdict != "any":
            found = "deny" if record.id in lost else "allow"
            assert found == verdict, (record, lost.get(record.id))


@MANY
@given(
    candidates(),
    candidates(),
    any_facts(),
    st.sampled_from(HOSTS[:2]),
    st.sampled_from(PATHS[:3]),
    instants(),
)
def test_d6_a_base_is_what_the_candidate_is_compared_with(
    base: Bundle, candidate: Bundle, about: Facts, host: str, path: str, at: float
) -> None:
    """Whatever was in force when it was recorded: a plan says what *it* changes, and nothing else."""
    assert about.subject is not None
    inputs = InputsRecord("in1", stable_inputs(_question(about), about, compile_policies(candidate)))
    inputs = msgspec.json.decode(msgspec.json.encode(inputs), type=InputsRecord)
    record = DecisionRecord(
        id="0" * 32, at=at, node="n", point="gateway", verdict="allow", code="PERMITTED", bundle="another",
        inputs="in1", action="read", resource=str(about.resource.root), subject=str(about.subject.root),
        method="GET", host=host, path=path, ip=about.network.ip, age_s=1.0,
    )  # fmt: skip
    before, after = (expected(one, record, _clean(one, about, 1.0)) for one in (base, candidate))
    for one, changes in ((base, False), (candidate, before != after)):
        replay = Replay(one, base=base)
        replay.feed(inputs)
        replay.feed(record)
        assert bool(replay.report().differences) == changes
        assert bool(replay.report().losers) == (changes and after == "deny" and _steps(replay) == 0)


def _steps(replay: Replay) -> int:
    return len(replay.report().steppers)


def _clean(candidate: Bundle, about: Facts, age_s: float) -> Facts:
    """The facts as the candidate's schema lets a gateway have them."""
    declared = candidate.catalogue.attribute_types

    def clean(entity: Entity) -> Entity:
        held = entity.attrs.get("attributes")
        if held is None:
            return entity
        kept = {name: value for name, value in held.items() if name in declared}
        return msgspec.structs.replace(entity, attrs={**entity.attrs, "attributes": kept})

    subject = about.subject
    assert subject is not None
    known = {entity.ref: clean(entity) for entity in subject.entities}
    again = close_entity(
        subject.root,
        known.get,
        status=subject.status,
        quarantined=subject.quarantined,
        expires_at=subject.expires_at,
    )
    return msgspec.structs.replace(about, subject=again, age_s=age_s)


def _question(about: Facts) -> AccessRequest:
    assert about.subject is not None
    return AccessRequest(DecisionId("0" * 32), NOON, about.subject.root, "read", about.resource.root)


@MANY
@given(policy_texts(TIME_FORMS), any_facts(), instants())
def test_d6_a_forged_record_is_found(texts: list[str], about: Facts, at: float) -> None:
    """Under its own bundle, a record whose verdict was turned does not follow any more."""
    made = bundle("\n".join(texts))
    policies, inputs, record = _recorded(made, about, at)
    honest = decide(*policies)
    replay = Replay(made)
    for one in (inputs, record):
        replay.feed(one)
    assert replay.report().mismatched == 0, honest
    turned = "deny" if record.verdict == "allow" else "allow"
    replay.feed(msgspec.structs.replace(record, verdict=turned))
    assert replay.report().mismatched == 1


def _recorded(
    made: Bundle, about: Facts, at: float
) -> tuple[tuple[AccessRequest, Facts, Any], InputsRecord, DecisionRecord]:
    """A decision on Limen's own administration, which needs no host."""
    ref = EntityRef("App", "limen")
    closure = close_entity(ref, catalogue_entities(made.catalogue).get)
    about = msgspec.structs.replace(about, resource=closure)
    assert about.subject is not None
    asked = AccessRequest(DecisionId("0" * 32), at, about.subject.root, "admin", ref, ip=about.network.ip)
    compiled = compile_policies(made)
    decision: Decision = decide(asked, about, compiled)
    record = DecisionRecord(
        id=asked.id,
        at=at,
        node="n",
        point="admin-api",
        verdict=decision.verdict.value,
        code=decision.code.value,
        bundle=decision.bundle,
        inputs="in1",
        action="admin",
        resource=str(ref),
        subject=str(about.subject.root),
        ip=about.network.ip,
        policies=decision.policies,
        errors=decision.errors,
    )
    return (asked, about, compiled), InputsRecord("in1", stable_inputs(asked, about, compiled)), record
