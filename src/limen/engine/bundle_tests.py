"""Run a bundle's own tests: each a sentence, each decided by the engine that decides requests.

Context that a test does not mention is that of a careful employee at work: second factor, fresh
sign-in, office hours, no risk, no device.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.decision import (
    AccessRequest,
    Decision,
    DeviceFacts,
    Explanation,
    Facts,
    Network,
    SessionFacts,
)
from limen.core.entities import Closure, Entity, close_entity
from limen.core.ids import DecisionId, EntityRef, Instant
from limen.core.resources import catalogue_entities
from limen.engine.bundle_values import Bundle, BundleTest, TestSubject
from limen.engine.decide import decide as engine_decide
from limen.engine.explain import explain as engine_explain
from limen.engine.policies import Policies, compile_policies

AT_WORK = (2026, 3, 2)  # a Monday; tests count weekdays from it
OFFICE_HOUR, OFFICE_WEEKDAY = 10, 2
FRESH_S = 300
SESSION_S = 8 * 3600
SOMEONE = "someone"
ADDRESS = "192.0.2.10"  # TEST-NET-1, RFC 5737

Decide = Callable[[AccessRequest, Facts, Policies], Decision]
Explain = Callable[[AccessRequest, Facts, Policies], Explanation]


class TestResult(msgspec.Struct, frozen=True):
    """What became of one test. `why` says what differs; empty when it passed."""

    __test__ = False  # not a pytest class

    name: str
    file: str
    line: int
    passed: bool
    why: str
    verdict: str
    policies: tuple[str, ...]


def run_tests(
    bundle: Bundle, *, decide: Decide = engine_decide, explain: Explain = engine_explain
) -> tuple[TestResult, ...]:
    """Run every test of a bundle, in order. Never raises for what a test says."""
    stage = _Stage(bundle.catalogue)
    policies = compile_policies(bundle)
    return tuple(_run(test, stage, policies, decide, explain) for test in bundle.tests)


def _run(
    test: BundleTest, stage: "_Stage", policies: Policies, decide: Decide, explain: Explain
) -> TestResult:
    request, facts = stage.scene(test)
    decision = decide(request, facts, policies)
    differences = []
    if str(decision.verdict) != test.expect:
        by = f" by {', '.join(decision.policies)}" if decision.policies else ""
        differences.append(f"expected {test.expect}, got {decision.verdict} ({decision.code}{by})")
    else:
        reasons = {*decision.policies, *decision.errors, str(decision.code)}
        missing = [reason for reason in test.because or () if reason not in reasons]
        if missing:
            actual = ", ".join(decision.policies) or str(decision.code)
            differences.append(f"{decision.verdict} because of {actual}, not of {', '.join(missing)}")
        if test.cure is not None:
            cures = sorted({remedy.id for remedy in explain(request, facts, policies).remedies})
            if cures != sorted({*test.cure}):
                differences.append(f"cured by {_listed(cures)}, not by {_listed(sorted(test.cure))}")
    return TestResult(
        name=test.name,
        file=test.file,
        line=test.line,
        passed=not differences,
        why="; ".join(differences),
        verdict=str(decision.verdict),
        policies=decision.policies,
    )


def _listed(words: list[str]) -> str:
    return " and ".join(words) or "nothing"


class _Stage:
    """Turns a test's words into the request and facts that the engine takes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._zone = ZoneInfo(catalogue.timezone)
        self._entities = catalogue_entities(catalogue)
        self._subjects: dict[tuple[str, tuple[str, ...], str, bytes], Closure] = {}
        self._resources: dict[EntityRef, Closure] = {}

    def scene(self, test: BundleTest) -> tuple[AccessRequest, Facts]:
        """Return what the engine is asked."""
        context = test.context
        at = self._instant(context)
        subject = None if test.subject.anonymous else self._subject(test.subject)
        resource = self._resource(self._named(test.resource))
        person = subject is not None and subject.root.type == "User"
        session = _session(context, at) if person else None
        network = Network(**{"ip": ADDRESS, **context.get("network", {})})
        request = AccessRequest(
            id=DecisionId("0" * 32),
            at=at,
            subject=subject.root if subject else None,
            action=test.action,
            resource=resource.root,
            session_id=session.id if session else None,
            ip=network.ip,
        )
        facts = Facts(
            subject=subject,
            resource=resource,
            session=session,
            device=_device(context["device"]) if "device" in context else None,
            network=network,
            risk=context.get("risk", 0),
            signals=tuple(sorted(context.get("signals", ()))),
        )
        return request, facts

    def _named(self, name: str) -> EntityRef:
        """Return what a test means by a name: apps, services and clients share one space of names."""
        others = (EntityRef("Service", name), EntityRef("Client", name))
        found = next((ref for ref in others if ref in self._entities), None)
        return found or EntityRef("Route" if "/" in name else "App", name)

    def _instant(self, context: Mapping[str, Any]) -> Instant:
        if "now" in context:
            return datetime.fromisoformat(context["now"]).timestamp()
        year, month, monday = AT_WORK
        day = monday + context.get("weekday", OFFICE_WEEKDAY) - 1
        return datetime(year, month, day, context.get("hour", OFFICE_HOUR), tzinfo=self._zone).timestamp()

    def _subject(self, subject: TestSubject) -> Closure:
        kind = "Workload" if subject.workload else "User"
        name = subject.workload or subject.user or SOMEONE
        key = (f"{kind}:{name}", subject.groups, subject.kind, msgspec.json.encode(subject.attributes))
        if key not in self._subjects:
            parents = tuple(EntityRef("Group", group) for group in subject.groups)
            ref = EntityRef(kind, name)
            owner = _person(EntityRef("User", SOMEONE))
            attrs: Mapping[str, Any] = (
                _person(ref, subject.kind, subject.attributes).attrs
                if kind == "User"
                else _workload(owner.ref)
            )
            world = {owner.ref: owner, ref: Entity(ref, attrs, parents)}
            self._subjects[key] = close_entity(ref, world.get)
        return self._subjects[key]

    def _resource(self, ref: EntityRef) -> Closure:
        if ref not in self._resources:
            self._resources[ref] = close_entity(ref, self._lookup)
        return self._resources[ref]

    def _lookup(self, ref: EntityRef) -> Entity | None:
        """Owners are people of a directory that a test does not have; any will do."""
        return _person(ref) if ref.type == "User" else self._entities.get(ref)


def _person(ref: EntityRef, kind: str = "employee", attributes: Mapping[str, Any] | None = None) -> Entity:
    given = dict(attributes or {})
    return Entity(ref, {"status": "active", "kind": kind, "quarantined": False, "attributes": given})


def _workload(owner: EntityRef) -> Mapping[str, Any]:
    return {"status": "active", "owner": {"__entity": owner._asdict()}, "quarantined": False}


def _session(context: Mapping[str, Any], at: Instant) -> SessionFacts:
    passkey = context.get("phishing_resistant", False)
    aal = context.get("aal", 2)
    usual = ("passkey",) if passkey else ("password", "totp") if aal > 1 else ("password",)
    auth_age = context.get("auth_age", FRESH_S)
    return SessionFacts(
        id="test",
        aal=aal,
        phishing_resistant=passkey,
        methods=tuple(sorted(context.get("methods", usual))),
        started_at=at - context.get("age", max(FRESH_S, auth_age)),
        auth_at=at - auth_age,
        expires_at=at + SESSION_S,
    )


def _device(context: Mapping[str, Any]) -> DeviceFacts:
    ref = EntityRef("Device", "test")
    attrs = {
        "platform": context.get("platform", "linux"),
        "trust": context.get("trust", 2),
        "compliant": context.get("compliant", False),
        "quarantined": context.get("quarantined", False),
        "posture": dict(context.get("posture", {})),
    }
    closure = close_entity(ref, {ref: Entity(ref, attrs)}.get, quarantined=attrs["quarantined"])
    return DeviceFacts(closure)
