"""Ten grants on one app against ten thousand: what a decision costs, facts gathered and all."""

import statistics
import time

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import BundleFact, Change, GrantFact, PersonFact, Projection
from limen.core.decision import AccessRequest, SessionFacts
from limen.core.ids import DecisionId, EntityRef
from limen.engine.bundle import bundle_id
from limen.engine.decide import decide
from limen.engine.starter import starter_files

NOW = 1.8e9
APP = EntityRef("App", "wiki")
ROUNDS = 400


def main(*, quick: bool = False) -> None:
    """Measure both, and print the ratio."""
    most = 1_000 if quick else 10_000
    _decision_us(10)  # the first one pays for what is loaded once
    few, many = _decision_us(10), _decision_us(most)
    print("| Grants on the app | one decision, cold |\n|---|---|")
    print(f"| 10 | {few:.0f} µs |")
    print(f"| {most:,} | {many:.0f} µs |")
    print(f"| ratio | {many / few:.2f} |")


def _decision_us(grants: int) -> float:
    replica = Replica(load_bundle)
    files = starter_files("corp.example")
    files["limen.yaml"] += "\napps:\n  wiki:\n    upstream: http://127.0.0.1:9001\n"
    values: list[Projection] = [BundleFact("active", bundle_id(files), files)]
    values += [PersonFact(f"p{n}", f"P {n}", "") for n in range(grants)]
    values += [
        GrantFact(f"g{n}", ("User", f"p{n}"), ("read",), ("App", "wiki"), NOW + 3600) for n in range(grants)
    ]
    last = len(values) - 1
    replica.apply(
        Change(n, last, str(value.__struct_config__.tag), value.id, value, "bench", "", NOW)
        for n, value in enumerate(values)
    )
    assert replica.active is not None
    session = SessionFacts("s", 2, False, ("password", "totp"), NOW - 60, NOW - 60, NOW + 3600)
    took = []
    for n in range(ROUNDS):
        subject = EntityRef("User", f"p{n % 10}")
        began = time.perf_counter()
        facts = replica.facts(subject, APP, at=NOW + n, session=session)
        assert facts is not None
        request = AccessRequest(DecisionId(f"{n:032x}"), NOW + n, subject, "read", APP)
        decision = decide(request, facts, replica.active.policies)
        took.append(time.perf_counter() - began)
        assert decision.allowed, decision
    return statistics.median(took) * 1e6
