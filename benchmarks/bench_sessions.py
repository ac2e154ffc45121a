"""What 100,000 sessions cost a gateway: memory of its replica and of the seats in use, and time to load.

Run `python benchmarks/bench_sessions.py`. Prints; asserts nothing. Goal: at most 150 MB more.
"""

import gc
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from limen.administrator.active import ActiveBundle
from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import ROWS_PER_LINE, Ready, Rows, Start, parse_from_control, render_line
from limen.administrator.replica import Replica
from limen.core.catalogue import Catalogue
from limen.core.changes import AppSessionFact, BundleFact, Change, PersonFact, Projection, SessionFact
from limen.core.tokens import token_hash
from limen.enforcement.check.seats import SEATS_MAX, Seats

SESSIONS = 100_000
PEOPLE = 20_000
AT = 1_800_000_000.0


def load(fact: BundleFact) -> ActiveBundle:
    """Return an empty bundle."""
    return ActiveBundle(fact.bundle_id, Catalogue(domain="limen.test"), object(), {})  # type: ignore[arg-type]


def rss_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def hash_of(n: int) -> str:
    """Return the hash of a token."""
    return token_hash(f"token-{n}")


def people() -> Iterator[Projection]:
    """Yield the directory."""
    for n in range(PEOPLE):
        yield PersonFact(id=f"person{n}", name=f"Person {n}", email=f"p{n}@limen.test", groups=("staff",))


def sessions() -> Iterator[Projection]:
    """Yield sessions, each with one app session."""
    for n in range(SESSIONS):
        started_at = AT + n / 7
        name = f"ses_{secrets.token_hex(12)}"
        yield SessionFact(
            name,
            f"person{n % PEOPLE}",
            2,
            False,
            ("password", "totp"),
            started_at,
            started_at,
            started_at + 4e4,
        )
        yield AppSessionFact(hash_of(n), name, "wiki", started_at + 4e4)


def lines(rows: Iterator[Projection], seq: int) -> Iterator[bytes]:
    """Yield a snapshot as control sends it."""
    yield render_line(Start("e", seq))
    batch: list[tuple[int, Projection]] = []
    for version, row in enumerate(rows, 1):
        batch.append((version, row))
        if len(batch) == ROWS_PER_LINE:
            yield render_line(Rows(tuple(batch)))
            batch = []
    yield render_line(Rows(tuple(batch)))
    yield render_line(Ready(seq))


def measured(name: str, before: float, work: Callable[[], object]) -> float:
    """Do the work; print what it took, and return the memory after it."""
    began = time.process_time()
    work()
    took = time.process_time() - began
    gc.collect()
    now = rss_mb()
    print(f"{name:<52} {now - before:8.1f} MB {took:7.2f} s CPU")
    return now


def main(*, quick: bool = False) -> None:
    """Load people, then people with sessions, then use the sessions."""
    replica = Replica(load)
    reader = FeedReader(replica)

    def feed(rows: Iterator[Projection]) -> None:
        for line in lines(rows, 1_000_000):
            reader.read(parse_from_control(line))

    def both() -> Iterator[Projection]:
        yield from people()
        yield from sessions()

    base = measured("20,000 people", rss_mb(), lambda: feed(people()))
    held = measured("and 100,000 sessions, one app session each", base, lambda: feed(both()))
    seats = Seats(replica)
    live = AT + SESSIONS / 7  # an instant at which all of them live

    def use() -> None:
        for n in range(SESSIONS):
            assert seats.find(hash_of(n), app="wiki", kind="cookie", at=live) is not None

    used = measured(f"all used once ({SEATS_MAX:,} seats kept)", held, use)
    change = Change(1_000_001, 1_000_001, "session", "x", None, "t", "t", AT)
    measured("one change applied", used, lambda: replica.apply([change]))
    print(f"{'100,000 sessions in all':<52} {used - base:8.1f} MB")


if __name__ == "__main__":
    main()
