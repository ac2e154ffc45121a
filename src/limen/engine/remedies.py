"""Remedies as counterfactuals: what a person could do, and the facts as they would be then.

A remedy is offered only where the policies read what it changes. The order of `candidates` is the order
of preference: what the person can do at once comes before what needs others.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from limen.core.decision import AccessRequest, DeviceFacts, Facts, Grant, Remedy, SessionFacts
from limen.core.entities import Entity, close_entity
from limen.core.ids import EntityRef
from limen.core.needs import FRESH_SIGN_IN, HARDWARE_KEY, NEEDS, PASSKEY, SECOND_FACTOR
from limen.engine.edges import Crossing, next_edge, to_ms
from limen.engine.policies import Slice

Asked = tuple[AccessRequest, Facts]
Change = Callable[[AccessRequest, Facts], Asked]

LATER_EDGES_MAX = 4  # instants that are tried; more would use up the evaluations
GRANT_S = 3600.0  # any time to come: a grant's length is for its approver to say
GRANT_REMEDY = "grant"

POSTURE_CHECKS = {
    "disk_encrypted": "Encrypt this device's disk.",
    "firewall": "Switch this device's firewall on.",
    "screen_lock": "Set this device to lock its screen.",
    "os_supported": "Update this device to a supported system.",
    "updates_current": "Install this device's pending updates.",
    "edr_running": "Start this device's protection software.",
}
"""Posture checks of the schema that a person can repair, each with what to do."""

DEVICE_REMEDIES = frozenset(
    {"enrolled-device", "compliant-device"} | {f"posture:{c}" for c in POSTURE_CHECKS}
)
"""Remedies that tell something about devices: hidden below AAL2."""

WEAKER = {
    PASSKEY: SECOND_FACTOR,
    HARDWARE_KEY: PASSKEY,
    "compliant-device": "enrolled-device",
    "sign-in": FRESH_SIGN_IN,
}
"""Where the weaker remedy does, the stronger one is not asked for."""


class Candidate(msgspec.Struct, frozen=True):
    """A remedy and what it changes. Of one family, one at a time makes sense."""

    remedy: Remedy
    family: str
    change: Change


def apply(candidates: Iterable[Candidate], request: AccessRequest, facts: Facts) -> Asked:
    """Return request and facts as they would be after all of these."""
    for candidate in candidates:
        request, facts = candidate.change(request, facts)
    return request, facts


def candidates(request: AccessRequest, facts: Facts, part: Slice) -> tuple[Candidate, ...]:
    """Return the remedies that could matter to these policies, the preferred ones first."""
    return (
        *_sign_in(facts, part),
        *_device(facts, part),
        *_later(request, part),
        *_risk(facts, part),
        _grant(),
    )


# --- signing in ----------------------------------------------------------------------------------


def _sign_in(facts: Facts, part: Slice) -> Iterator[Candidate]:
    fields, session = part.reads.fields, facts.session
    if session is None:
        return
    proofs = not fields.isdisjoint({"session.aal", "session.methods"})
    if proofs and session.aal < 2:
        yield Candidate(Remedy(SECOND_FACTOR, NEEDS[SECOND_FACTOR].cure), "proof", _second_factor)
    if (proofs or "session.phishing_resistant" in fields) and not session.phishing_resistant:
        yield Candidate(Remedy(PASSKEY, NEEDS[PASSKEY].cure), "proof", _passkey)
    if "session.aal" in fields and session.aal < 3:
        yield Candidate(Remedy(HARDWARE_KEY, NEEDS[HARDWARE_KEY].cure), "proof", _hardware)
    if "session.auth_age" in fields:
        yield Candidate(_fresh_remedy(part), "age", _fresh)
    if "session.age" in fields:
        yield Candidate(Remedy("sign-in", "Sign out, then sign in again."), "age", _anew)


def _second_factor(request: AccessRequest, facts: Facts) -> Asked:
    return request, _with_session(facts, lambda s: {"aal": max(2, s.aal), "methods": _with_method(s, "totp")})


def _passkey(request: AccessRequest, facts: Facts) -> Asked:
    def proven(session: SessionFacts) -> dict[str, Any]:
        methods = _with_method(session, "passkey")
        return {"aal": max(2, session.aal), "phishing_resistant": True, "methods": methods}

    return request, _with_session(facts, proven)


def _hardware(request: AccessRequest, facts: Facts) -> Asked:
    def proven(session: SessionFacts) -> dict[str, Any]:
        methods = tuple(sorted({*session.methods, "passkey", "hardware-key"}))
        return {"aal": 3, "phishing_resistant": True, "methods": methods}

    return request, _with_session(facts, proven)


def _fresh(request: AccessRequest, facts: Facts) -> Asked:
    return request, _with_session(facts, lambda _: {"auth_at": request.at})


def _anew(request: AccessRequest, facts: Facts) -> Asked:
    return request, _with_session(facts, lambda _: {"auth_at": request.at, "started_at": request.at})


def _with_session(facts: Facts, change: Callable[[SessionFacts], dict[str, Any]]) -> Facts:
    if facts.session is None:
        return facts
    session = msgspec.structs.replace(facts.session, **change(facts.session))
    return msgspec.structs.replace(facts, session=session)


def _with_method(session: SessionFacts, method: str) -> tuple[str, ...]:
    return tuple(sorted({*session.methods, method}))


def _fresh_remedy(part: Slice) -> Remedy:
    """Say how fresh: the strictest literal that the policies compare the sign-in's age with."""
    ages = [
        (form.points[0] - 1) // 1000  # the last whole second before the comparison turns
        for form in part.reads.forms
        if isinstance(form, Crossing) and form.term == "session.auth_age" and form.points[0] > 0
    ]
    if not ages:
        return Remedy(FRESH_SIGN_IN, "Sign in again.", max_age_s=0)
    age_s = min(ages)
    return Remedy(
        FRESH_SIGN_IN,
        f"Sign in again: the last sign-in may be at most {duration_words(age_s)} ago.",
        max_age_s=age_s,
    )


def duration_words(seconds: int) -> str:
    """Return `15 minutes`: the largest unit that divides, for people."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}" + ("s" if count > 1 else "")
    return f"{seconds} second" + ("" if seconds == 1 else "s")


# --- devices -------------------------------------------------------------------------------------


def _device(facts: Facts, part: Slice) -> Iterator[Candidate]:
    if "device" not in part.reads.fields:
        return
    if facts.device is None:
        sentence = "Come from a device that is enrolled."
        yield Candidate(Remedy("enrolled-device", sentence), "device", _enrolled)
    else:
        posture = _root(facts.device).attrs.get("posture", {})
        for check, sentence in POSTURE_CHECKS.items():
            if posture.get(check) is not True:
                yield Candidate(Remedy(f"posture:{check}", sentence), f"posture:{check}", _repair(check))
        if _root(facts.device).attrs.get("compliant"):
            return
    yield Candidate(Remedy("compliant-device", "Come from a compliant device."), "device", _compliant)


def _enrolled(request: AccessRequest, facts: Facts) -> Asked:
    attrs = {"platform": "linux", "trust": 1, "compliant": False, "quarantined": False, "posture": {}}
    return request, _with_device(facts, attrs)


def _compliant(request: AccessRequest, facts: Facts) -> Asked:
    new: dict[str, Any] = {"platform": "linux", "trust": 2}
    old = new if facts.device is None else dict(_root(facts.device).attrs)
    posture = {**old.get("posture", {}), **dict.fromkeys(POSTURE_CHECKS, True)}
    return request, _with_device(facts, {**old, "compliant": True, "quarantined": False, "posture": posture})


def _repair(check: str) -> Change:
    def repaired(request: AccessRequest, facts: Facts) -> Asked:
        if facts.device is None:
            return request, facts
        old = _root(facts.device).attrs
        posture = {**old.get("posture", {}), check: True}
        # The last failing check that is repaired makes the device compliant.
        compliant = old.get("compliant", False) or all(posture.get(c) is not False for c in POSTURE_CHECKS)
        return request, _with_device(facts, {**old, "posture": posture, "compliant": compliant})

    return repaired


def _root(device: DeviceFacts) -> Entity:
    root = device.closure.root
    return next((e for e in device.closure.entities if e.ref == root), Entity(root))


def _with_device(facts: Facts, attrs: dict[str, Any]) -> Facts:
    """Put a device in place; a new one is owned by nobody whom a policy could name."""
    known = {} if facts.device is None else {e.ref: e for e in facts.device.closure.entities}
    root = EntityRef("Device", "") if facts.device is None else facts.device.closure.root
    parents = known[root].parents if root in known else ()
    table = {**known, root: Entity(root, attrs, parents)}
    return msgspec.structs.replace(facts, device=DeviceFacts(close_entity(root, table.get)))


# --- time, risk, grants --------------------------------------------------------------------------


def _later(request: AccessRequest, part: Slice) -> Iterator[Candidate]:
    """Yield the next instants at which a clock or the calendar turns a comparison."""
    at_ms: int | None = to_ms(request.at)
    for _ in range(LATER_EDGES_MAX):
        assert at_ms is not None
        at_ms = next_edge(part.reads.forms, at_ms, {"now": 0}, part.calendar)
        if at_ms is None:
            return
        at = at_ms / 1000
        sentence = f"Try again from {part.calendar.words(at_ms)}."
        yield Candidate(Remedy("later", sentence, at=at), "later", _wait_until(at))


def _wait_until(at: float) -> Change:
    """Only the clock moves: who comes back then will have signed in as long before as now."""

    def waited(request: AccessRequest, facts: Facts) -> Asked:
        by_s = at - request.at

        def moved(session: SessionFacts) -> dict[str, Any]:
            return {name: getattr(session, name) + by_s for name in ("started_at", "auth_at", "expires_at")}

        return msgspec.structs.replace(request, at=at), _with_session(facts, moved)

    return waited


def _risk(facts: Facts, part: Slice) -> Iterator[Candidate]:
    risky = (facts.risk > 0 and "risk" in part.reads.fields) or (
        bool(facts.signals) and "signals" in part.reads.fields
    )
    if risky:
        sentence = "Wait until the risk seen on this session has passed, or ask the help desk."
        yield Candidate(Remedy("lower-risk", sentence), "risk", _calm)


def _calm(request: AccessRequest, facts: Facts) -> Asked:
    return request, msgspec.structs.replace(facts, risk=0, signals=())


def _grant() -> Candidate:
    return Candidate(Remedy(GRANT_REMEDY, "Ask the owner for access."), "grant", _granted)


def _granted(request: AccessRequest, facts: Facts) -> Asked:
    if request.subject is None:
        return request, facts
    ends_at = request.at + GRANT_S
    grant = Grant("remedy", request.subject, (request.action,), request.resource, ends_at)
    return request, msgspec.structs.replace(facts, grants=(*facts.grants, grant))
