"""Hypothesis strategies: policies from condition fragments, subjects, resources, facts, instants.

Fragments are legal Cedar under the schema or not: some err where the attribute is absent (law D3), some
use time in memoisable forms, some in others (law D4).
"""

from typing import Any

import msgspec
from engine_world import GROUPS, NOON, RESOURCES, device, facts, person, ref, resource, session, workload
from hypothesis import strategies as st

from limen.core.decision import Facts, Grant, Network

PRINCIPALS = (
    "principal",
    "principal is User",
    "principal is Workload",
    'principal == User::"ada"',
    'principal == User::"od\\nd \\"one"',
    'principal in Group::"staff"',
    'principal in Group::"hr"',
    'principal in Group::"sre"',
    'principal is User in Group::"engineers"',
    'principal in User::"eve"',
)
ACTIONS = (
    "action",
    'action in Action::"access"',
    'action == Action::"read"',
    'action in [Action::"write", Action::"admin"]',
    'action == Action::"connect"',
    'action in [Action::"read", Action::"connect"]',
)
TARGETS = (
    "resource",
    "resource is Route",
    'resource == App::"wiki"',
    'resource in App::"payroll"',
    'resource in Label::"phi"',
    'resource in Segment::"prod"',
    'resource is Route in App::"wiki"',
    "resource is Service",
    'resource == Service::"ledger-db"',
    'resource is Service in Segment::"prod"',
)

TIME_FORMS = (
    "context.hour < 18",
    "9 <= context.hour",
    "context.hour == 13",
    "context.hour != 12",
    "context.weekday >= 6",
    "[1, 2, 3, 4, 5].contains(context.weekday)",
    "[3, 12].contains(context.hour)",
    'context.now < datetime("2027-01-15T13:00:00Z")',
    'context.now >= datetime("2027-01-15T12:30:00.500+0000")',
    'context.now == datetime("2027-01-15T12:00:01Z")',
    'datetime("2027-01-16") > context.now',
    'context has session && context.session.auth_age <= duration("15m")',
    'context has session && context.session.age < duration("1h30m")',
    'context has session && duration("120s") != context.session.auth_age',
    'context.session.auth_age > duration("5m500ms")',  # errs without a session
)
UNMEMOISABLE = (
    'context.now.toTime() < duration("12h30m")',
    "context.hour - 1 < 12",
    "context has session && context.session.auth_age.toMinutes() < 15",
    'context has session && context.session == {aal: 2, phishing_resistant: false, methods: ["totp"], '
    'age: duration("1m"), auth_age: duration("1m")}',
    "{at: context.hour}.at == 12",
)
TIMELESS = (
    "true",
    "context has session && context.session.aal >= 2",
    "context has session.phishing_resistant && context.session.phishing_resistant",
    'context has session && context.session.methods.contains("passkey")',
    "context.session.aal >= 3",  # errs without a session
    "context has device && context.device.compliant",
    "context.device.trust >= 2",  # errs without a device
    "context has device && context.device.posture has firewall && context.device.posture.firewall",
    "context has device",
    'context.network.ip.isInRange(ip("10.0.0.0/8"))',
    'context.network.ip.isInRange(ip("fd00::/8"))',
    "context.network.ip.isLoopback()",
    'context.network has country && context.network.country == "PT"',
    "context.network.anonymizer",
    "context.risk > 50",
    'context.signals.contains("impossible-travel")',
    'principal.attributes has department && principal.attributes.department like "fin*"',
    'principal.kind == "contractor"',  # errs for a workload
    'principal in Group::"contractors"',
    'User::"ada".kind == "employee"',  # known or not, as the closures happen to hold
    "resource has owner && resource.owner == principal",
    'resource in Label::"phi"',
    'action == Action::"read"',
    'action == Action::"connect"',
    'resource is Service && resource.protocol == "postgres" && resource.port < 6000',
    "if context.risk > 10 then context has device else context.risk == 0",
)


@st.composite
def policy(draw: st.DrawFn, number: int, fragments: tuple[str, ...]) -> str:
    """One policy with up to two conditions."""
    effect = draw(st.sampled_from(("permit", "forbid")))
    parts = (PRINCIPALS, ACTIONS, TARGETS)
    scope = ", ".join(draw(st.sampled_from(part[:1] * len(part) + part)) for part in parts)
    clauses = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("when", "unless")),
                st.sampled_from(fragments),
                st.sampled_from(("&&", "||")),
                st.sampled_from(fragments),
            ),
            max_size=2,
        )
    )
    text = " ".join(f"{kind} {{ ({one}) {op} ({two}) }}" for kind, one, op, two in clauses)
    return f'@id("p{number}") {effect}({scope}) {text};'


def policy_texts(*extra: tuple[str, ...], max_size: int = 8) -> st.SearchStrategy[list[str]]:
    """A bundle's policies."""
    fragments = sum(extra, TIMELESS)
    return st.integers(0, max_size).flatmap(
        lambda count: st.tuples(*(policy(number, fragments) for number in range(count))).map(list)
    )


def sessions() -> st.SearchStrategy[Any]:
    """A session of any strength and age."""
    return st.builds(
        session,
        aal=st.integers(1, 3),
        phishing_resistant=st.booleans(),
        methods=st.sampled_from((("password",), ("password", "totp"), ("passkey",), ("totp",))),
        started_at=st.sampled_from((NOON - 5399.5, NOON - 3600, NOON - 60, NOON + 0.25)),
        auth_at=st.sampled_from((NOON - 899.75, NOON - 300, NOON - 60, NOON - 0.001)),
        expires_at=st.sampled_from((NOON + 43_200, NOON + 30 * 86_400, NOON + 1)),
    )


def people() -> st.SearchStrategy[Any]:
    """People in any groups."""
    return st.builds(
        person,
        st.sampled_from(("ada", "eve", 'od\nd "one')),
        _groups(),
        kind=st.sampled_from(("employee", "contractor")),
        attributes=st.sampled_from(({}, {"department": "finance"}, {"department": "it"})),
        expires_at=st.sampled_from((None, None, NOON + 7200)),
    )


def _groups() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(sorted(GROUPS)), max_size=3, unique=True).map(tuple)


def devices() -> st.SearchStrategy[Any]:
    """A device, or none."""
    return st.none() | st.builds(
        device,
        compliant=st.booleans(),
        trust=st.integers(0, 3),
        posture=st.sampled_from(({}, {"firewall": True}, {"firewall": False})),
    )


def networks() -> st.SearchStrategy[Network]:
    """Where a request comes from."""
    return st.builds(
        Network,
        ip=st.sampled_from(
            ("10.1.2.3", "192.0.2.7", "127.0.0.1", "fd00::7", "::ffff:10.0.0.1", "2001:db8::1")
        ),
        country=st.sampled_from((None, "PT", "NL")),
        anonymizer=st.booleans(),
    )


def grants() -> st.SearchStrategy[tuple[Grant, ...]]:
    """Grants, some of which are about someone or something else."""
    one = st.builds(
        Grant,
        id=st.sampled_from(("g1", "g2")),
        principal=st.sampled_from((ref("User::ada"), ref("Group::staff"), ref("User::eve"))),
        actions=st.sampled_from(
            (("read",), ("access",), ("write", "admin"), ("connect",), ("read", "connect"))
        ),
        resource=st.sampled_from(
            (ref("App::wiki"), ref("App::payroll"), ref("Label::phi"), ref("Service::ledger-db"))
        ),
        expires_at=st.sampled_from((NOON + 30, NOON + 3600)),
    )
    return st.lists(one, max_size=2, unique_by=lambda grant: grant.id).map(tuple)


def any_facts() -> st.SearchStrategy[Facts]:
    """Facts about anyone: people have a session, workloads may."""
    return st.one_of(
        *[_facts(people(), sessions())] * 3,
        _facts(st.builds(workload, st.just("backup"), _groups()), st.none() | sessions()),
    )


def _facts(subjects: st.SearchStrategy[Any], proofs: st.SearchStrategy[Any]) -> st.SearchStrategy[Facts]:
    return st.builds(
        facts,
        subjects,
        _targets(),
        session=proofs,
        device=devices(),
        network=networks(),
        risk=_RISKS,
        signals=_SIGNALS,
        grants=grants(),
    )


def _targets() -> st.SearchStrategy[str]:
    return st.sampled_from(
        [name for name in sorted(RESOURCES) if name.startswith(("App", "Route", "Service"))]
    )


def neighbours(about: Facts) -> st.SearchStrategy[Facts]:
    """Facts that differ from these in one field: what a memo must not take for the same."""
    assert about.subject is not None
    groups = tuple(ref.id for one in about.subject.entities[-1:] for ref in one.parents)
    twins = st.builds(
        person,
        st.just(about.subject.root.id),
        st.just(groups),
        kind=st.sampled_from(("employee", "contractor")),
        attributes=st.sampled_from(({}, {"department": "finance"})),
    )
    fields = {
        "subject": people() | twins,
        "session": sessions(),
        "device": devices(),
        "network": networks(),
        "risk": _RISKS,
        "signals": _SIGNALS,
        "grants": grants(),
        "resource": _targets().map(resource),
    }
    return st.sampled_from(sorted(fields)).flatmap(
        lambda name: fields[name].map(lambda value: msgspec.structs.replace(about, **{name: value}))
    )


_RISKS = st.sampled_from((0, 10, 30, 80))
_SIGNALS = st.sampled_from(((), ("impossible-travel",)))


def actions() -> st.SearchStrategy[str]:
    """Every action, whatever the resource: one that the schema does not have for it is never allowed."""
    return st.sampled_from(("read", "write", "admin", "connect"))


def instants() -> st.SearchStrategy[float]:
    """Instants on, beside and between the edges of the fragments, in no order."""
    steps = (0, 1, 60, 241, 300, 600.25, 840, 1800.5, 3600, 6 * 3600, 12 * 3600, 86_400, 3 * 86_400)
    return st.builds(
        lambda step, shift: NOON + step + shift,
        st.sampled_from(steps),
        st.sampled_from((0.0, -0.001, 0.001, 0.0004, -1.0)),
    )


_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name not in ("auth", "limen")
)
_LABELS = st.lists(st.sampled_from(("phi", "pii", "source")), max_size=2, unique=True)
_ALLOW = st.lists(st.sampled_from(("group:staff", "user:ada", "workload:backup")), max_size=2, unique=True)


def stream_limits() -> st.SearchStrategy[dict[str, Any]]:
    """`streams:` as people write it: some of its keys, idle never longer than life."""
    keys = {
        "per_session": st.integers(1, 1000),
        "per_subject": st.integers(1, 5000),
        "per_resource": st.integers(1, 1_000_000),
        "idle_s": st.integers(1, 600) | st.just(0.5 + 1),
        "max_s": st.integers(600, 86_400),
    }
    return st.fixed_dictionaries({}, optional=keys)


def routes() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Routes, some of which stream; none meets another."""
    one = st.fixed_dictionaries(
        {"name": _NAMES},
        optional={"streaming": st.booleans(), "public": st.booleans(), "labels": _LABELS},
    )
    return st.lists(one, max_size=3, unique_by=lambda route: route["name"]).map(
        lambda found: [{**route, "path": f"/{route['name']}"} for route in found]
    )


def services() -> st.SearchStrategy[dict[str, Any]]:
    """One service, as people write it."""
    hosts = st.sampled_from(("db1.internal", "10.0.0.5", "[2001:db8::1]"))
    return st.fixed_dictionaries(
        {"address": st.builds("{}:{}".format, hosts, st.integers(1, 65_535))},
        optional={
            "protocol": st.sampled_from(("ssh", "postgres", "redis", "mysql", "tcp", "x-own")),
            "labels": _LABELS,
            "allow": _ALLOW,
            "owner": st.just("ada"),
            "segment": st.just("prod"),
            "staleness_max_s": st.integers(5, 86_400),
            "streams": stream_limits(),
        },
    )


def apps() -> st.SearchStrategy[dict[str, Any]]:
    """One app, as people write it, with what its streams may do."""
    return st.fixed_dictionaries(
        {"upstream": st.just("http://127.0.0.1:9001")},
        optional={
            "upgrades": st.lists(st.sampled_from(("websocket", "spdy/3.1", "tcp")), unique=True),
            "http2": st.booleans(),
            "streams": stream_limits(),
            "labels": _LABELS,
            "allow": _ALLOW,
            "routes": routes(),
        },
    )


@st.composite
def limen_yaml_trees(draw: st.DrawFn) -> dict[str, Any]:
    """The content of a `limen.yaml` that is right."""
    names = draw(st.lists(_NAMES, max_size=5, unique=True))
    cut = draw(st.integers(0, len(names)))
    return {
        "domain": "corp.example",
        "segments": {"prod": {}},
        "apps": {name: draw(apps()) for name in names[:cut]},
        "services": {name: draw(services()) for name in names[cut:]},
        "streams": draw(stream_limits()),
    }
