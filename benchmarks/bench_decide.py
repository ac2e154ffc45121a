"""What a decision costs, as ratios of one run: `python benchmarks/bench_decide.py`.

Prints, asserts nothing. Goals of issue 2: a memo hit at most 30 us; a cold decision at most 2 x the bare
cedarpy call with its entities; cold with 10,000 policies and 20,000 people at most 1.5 x cold with 10;
10,000 grants on one app no dearer than ten.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cedarpy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))

from engine_world import NOON, bundle, facts, person, policies, ref, request, resource, session

from limen.core.decision import Facts, Grant
from limen.engine.context import Lens
from limen.engine.decide import decide
from limen.engine.edges import Calendar
from limen.engine.memo import Memo
from limen.engine.policies import Policies, compile_policies
from limen.engine.reads import EVERYTHING, Reads
from limen.engine.who_can import classify, who_can

GUARDRAILS = """
@id("mfa") forbid(principal is User, action, resource)
  unless { context has session && context.session.aal >= 2 };
@id("phi") forbid(principal, action, resource in Label::"phi")
  unless { context has session && context.session.phishing_resistant
    && context has device && context.device.compliant };
@id("fresh") forbid(principal is User, action == Action::"admin", resource)
  unless { context has session && context.session.auth_age <= duration("15m") };
@id("office") forbid(principal in Group::"contractors", action, resource)
  unless { context.hour >= 8 && context.hour < 18 };
"""
ENTITLEMENT = (
    '@id("e{n}") permit(principal in Group::"{group}", action == Action::"read", resource == App::"{app}");\n'
)
APPS = ("wiki", "payroll", "limen")


def text(count: int) -> str:
    """Guardrails and entitlements; the first is staff's, the rest are for others."""
    staff = ENTITLEMENT.format(n=0, group="staff", app="wiki")
    rest = (ENTITLEMENT.format(n=n, group=f"team{n}", app=APPS[n % 3]) for n in range(1, count - 4))
    return GUARDRAILS + staff + "".join(rest)


def per_call_us(step: Callable[[], object], calls: int, rounds: int = 5) -> float:
    """The best round's mean, with the collector at rest: what others do on this machine only adds."""
    step()
    gc.collect()
    gc.disable()
    means = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            step()
        means.append((time.perf_counter() - start) / calls * 1e6)
    gc.enable()
    return min(means)


def strangers(**changes: object) -> Iterator[Facts]:
    """Facts about people whom the engine has not met: nothing of theirs is parsed yet."""
    return (facts(person(f"p{n}", ("hr",)), **changes) for n in range(100_000))  # type: ignore[arg-type]


def cold_us(compiled: Policies, people: Iterator[Facts], calls: int = 300) -> float:
    """A decision about someone new, facts made beforehand."""
    ready = [(request(about), about) for about in (next(people) for _ in range(calls * 6))]
    questions = iter(ready)
    return per_call_us(lambda: decide(*next(questions), compiled), calls)  # type: ignore[arg-type]


def bare_us(compiled: Policies, lens: Lens, calls: int = 300) -> float:
    """Cedar alone: the slice's parsed policies, entities parsed in the call, the context of a lens."""
    schema = cedarpy.Schema.from_str(bundle("").cedar_schema)
    prepared = []
    for about in (one for one, _ in zip(strangers(), range(calls * 6), strict=False)):
        rows = [
            {"uid": e.ref._asdict(), "attrs": e.attrs, "parents": [p._asdict() for p in e.parents]}
            for closure in (about.subject, about.resource)
            if closure is not None
            for e in closure.entities
            if e.attrs or e.parents
        ]
        asked = {
            "principal": about.subject.root._asdict() if about.subject else None,
            "action": {"type": "Action", "id": "read"},
            "resource": about.resource.root._asdict(),
            "context": lens.context(request(about), about),
        }
        prepared.append((asked, json.dumps(rows)))
    parsed = compiled.plan("read", facts()).parsed
    questions = iter(prepared)

    def call() -> None:
        asked, rows = next(questions)
        cedarpy.is_authorized(asked, parsed, cedarpy.Entities.from_json_str(rows, schema))

    return per_call_us(call, calls)


def row(name: str, value_us: float, ratio: str = "") -> None:
    """Print one line."""
    print(f"{name:<58} {value_us:>10.1f} us  {ratio}")


def bench_memo(compiled: Policies) -> None:
    """Hits: one session, and many sessions over one entry."""
    memo, about = Memo(), facts()
    asked = request(about)
    row("memo hit, plain", per_call_us(lambda: memo.decide(asked, about, compiled), 20_000), "goal <= 30")
    rich = facts(person(groups=("contractors",)), target="App::payroll")
    asked_rich = request(rich)
    row(
        "memo hit, with time and device read",
        per_call_us(lambda: memo.decide(asked_rich, rich, compiled), 20_000),
    )
    granted = facts(grants=(Grant("g1", ref("User::ada"), ("read",), ref("App::wiki"), NOON + 600),))
    asked_granted = request(granted)
    row("memo hit, with a grant", per_call_us(lambda: memo.decide(asked_granted, granted, compiled), 20_000))


def bench_cold() -> Policies:
    """Cold decisions against bare Cedar, and over the size of the bundle."""
    few = policies(text(10))
    least = bare_us(few, few.plan("read", facts()).lens)
    bare = bare_us(few, Lens(Reads(EVERYTHING.fields), Calendar("UTC")))
    cold = cold_us(few, strangers())
    row("cedarpy alone with its entities, whole context", bare)
    row("cedarpy alone with its entities, only what is read", least)
    row("cold, 10 policies", cold, f"{cold / bare:.2f} and {cold / least:.2f} x bare (goal <= 2)")
    parsed = bundle(text(10_000))
    start = time.perf_counter()
    many = compile_policies(parsed)
    row("compile 10,000 policies", (time.perf_counter() - start) * 1e6)
    large = cold_us(many, strangers())
    row("cold, 10,000 policies", large, f"{large / cold:.2f} x cold with 10 (goal <= 1.5)")
    return few


def bench_grants(compiled: Policies) -> None:
    """Grants: the subject's only, so an app with many costs what a subject with one costs."""
    one = Grant("g1", ref("User::p1"), ("read",), ref("App::wiki"), NOON + 600)
    without, with_one = cold_us(compiled, strangers()), cold_us(compiled, strangers(grants=(one,)))
    row(
        "cold, one grant of the subject's own",
        with_one,
        f"{with_one / without:.2f} x none; others' are never seen",
    )


def bench_who_can(compiled: Policies) -> None:
    """20,000 people, sorted once, asked of one resource after another."""
    draw = random.Random(7)
    groups = ("staff", "hr", "engineers", "contractors", "sre")
    people = [person(f"p{n}", tuple(draw.sample(groups, 2))) for n in range(20_000)]
    resources = [resource("App::wiki"), resource("App::payroll")]
    start = time.perf_counter()
    classes = classify(people, compiled, resources)
    sorted_us = (time.perf_counter() - start) * 1e6
    row(f"who-can: sort 20,000 people into {len(classes.classes)} classes", sorted_us)
    start = time.perf_counter()
    for n in range(20):
        who_can("read", resources[n % 2].root, compiled, classes, resources[n % 2], at=NOON)
    each_us = (time.perf_counter() - start) / 20 * 1e6
    row("who-can: one resource", each_us, f"20,000 x 500 in about {(sorted_us + 500 * each_us) / 1e6:.1f} s")


def main(*, quick: bool = False) -> None:
    """Print the table."""
    few = bench_cold()
    bench_memo(few)
    bench_grants(few)
    bench_who_can(few)
    assert session().aal == 2  # the world is the one of the tests


if __name__ == "__main__":
    main()
