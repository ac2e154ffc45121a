"""What 100,000 sessions cost a gateway: the resident memory of a replica with and without them."""

import gc
import os
import secrets

from benchmarks.rig import rss_mb
from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import AppSessionFact, Change, PersonFact, SessionFact

PEOPLE = 20_000
SESSIONS = 100_000


def main(*, quick: bool = False) -> None:
    """Fill a replica, and print what it took."""
    people, sessions = (2_000, 10_000) if quick else (PEOPLE, SESSIONS)
    replica = Replica(load_bundle)
    empty = _resident()
    _apply(
        replica,
        [PersonFact(f"p{n}", f"Person {n}", f"p{n}@corp.example", groups=("staff",)) for n in range(people)],
    )
    with_people = _resident()
    _apply(replica, [_session(n, people) for n in range(sessions)])
    with_sessions = _resident()
    _apply(
        replica,
        [AppSessionFact(secrets.token_hex(32), f"ses_{n:024x}", "wiki", 1.9e9) for n in range(sessions)],
    )
    with_apps = _resident()
    print("| | Resident, more |\n|---|---|")
    print(f"| {people:,} people | {with_people - empty:.0f} MB |")
    print(f"| {sessions:,} sessions | {with_sessions - with_people:.0f} MB |")
    print(f"| one app session below each | {with_apps - with_sessions:.0f} MB |")


def _session(n: int, people: int) -> SessionFact:
    start = 1.8e9 + n
    return SessionFact(
        f"ses_{n:024x}", f"p{n % people}", 2, False, ("password", "totp"), start, start, start + 43_200
    )


def _apply(replica: Replica, values: list[PersonFact] | list[SessionFact] | list[AppSessionFact]) -> None:
    first = replica.seq + 1
    last = first + len(values) - 1
    kind = str(values[0].__struct_config__.tag)
    replica.apply(
        Change(first + n, last, kind, value.id, value, "bench", "", 0.0) for n, value in enumerate(values)
    )


def _resident() -> float:
    gc.collect()
    return rss_mb(os.getpid())
