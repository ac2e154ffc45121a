"""What one request costs in the check, on real parts: replica, memo, journal, signer.

Run `python benchmarks/bench_check.py`. Prints times and ratios; asserts nothing.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httptools
import uvloop

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    GroupFact,
    PersonFact,
    SessionFact,
    Snapshot,
)
from limen.core.clock import SystemClock
from limen.core.decision import AccessRequest, Decision, Explanation, Facts
from limen.core.secret import Secret
from limen.core.tokens import mint_token
from limen.enforcement.check.answer import render_answer
from limen.enforcement.check.assertion import AssertionSigner
from limen.enforcement.check.case import Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.metrics import Tally
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.request import CheckRequest
from limen.enforcement.check.server import start_check
from limen.engine.bundle import parse_bundle
from limen.engine.memo import Memo
from limen.journal.writer import Journal
from limen.services.state import StateDir

KEY = b"k" * 32
FILES = {
    "limen.yaml": """\
domain: limen.test
apps:
  wiki: {upstream: "http://127.0.0.1:9001", allow: [group:staff]}
  tool:
    upstream: http://127.0.0.1:9002
    allow: [group:staff]
    routes:
      - {name: admin, path: /admin/**, action: admin}
      - {name: health, path: /healthz, public: true}
""",
    "policies/guardrails/mfa.cedar": """\
@id("mfa-everywhere")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
@id("fresh-admin")
@reason("Sign in again.")
forbid(principal is User, action == Action::"admin", resource)
unless { context has session && context.session.auth_age <= duration("15m") };
""",
}
HEADERS = {
    "host": "wiki.limen.test:8443",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "sec-fetch-mode": "navigate",
    "sec-fetch-site": "none",
    "sec-fetch-dest": "document",
    "x-limen-peer": "203.0.113.7",
    "x-request-id": "c0ffee00-0000-4000-8000-000000000000",
    "x-forwarded-proto": "https",
    "content-length": "0",
}


class NoExplainer:
    """Explains nothing."""

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Know nothing."""
        return None

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        """Find nothing."""
        return None


class NoControl:
    """Is always away."""

    async def ask(self) -> None:
        """Fail."""
        raise OSError

    def note_seen(self, session_id: str, at: float) -> None:
        """Forget."""


def build(folder: Path) -> tuple[Check, str, Journal, Memo]:
    """A check with one person signed in at the wiki and the tool; return it with her token."""
    clock = SystemClock()
    now = clock.now()
    token, token_hash = mint_token(KEY, 1)
    bundle = parse_bundle(FILES)
    replica = Replica(load_bundle)
    rows = (
        BundleFact("active", bundle.id, FILES),
        GroupFact("staff"),
        *(GroupFact(f"g{n}") for n in range(10)),
        PersonFact(
            id="ada",
            name="Ada Lovelace",
            email="ada@limen.test",
            groups=("staff", *(f"g{n}" for n in range(10))),
        ),
        SessionFact("ses_1", "ada", 2, False, ("password", "totp"), now, now, now + 9e4),
        AppSessionFact(token_hash, "ses_1", "wiki", now + 9e4),
    )
    replica.apply_snapshot(Snapshot("e", 100, tuple(enumerate(rows, 1))))
    replica.confirm(clock.boot_s(), 100)
    journal, memo = Journal.open(folder / "journal", "bench", clock), Memo()
    state = StateDir.create(folder / "state")
    parts = CheckParts(
        replica=replica,
        engine=memo,
        journal=journal,
        signer=AssertionSigner(state.assertion_key_path.read_bytes()),
        explainer=NoExplainer(),
        pages=Pages(lambda *_, **__: "", {}),
        unseal=lambda fact: Secret(fact.sealed),
        clock=clock,
        token_key=KEY,
        node="bench",
        make_nonce=lambda: secrets.token_hex(16),
        note_seen=lambda session, at: None,
    )
    return Check(parts), token.reveal(), journal, memo


def timed(name: str, work: Callable[[], object], *, rounds: int = 5, calls: int = 4_000) -> float:
    """Print and return the best CPU time of a call."""
    work()
    best = min(_round(work, calls) for _ in range(rounds))
    print(f"{name:<44} {best:8.1f} µs")
    return best


def _round(work: Callable[[], object], calls: int) -> float:
    began = time.process_time()  # other processes may share the machine
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls * 1e6


def wire(token: str, target: str = "/page/one?q=1") -> bytes:
    """The request as Envoy sends it."""
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS.items())]
    lines.append(f"cookie: theme=dark; __Host-limen={token}; lang=pt")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def bench_pure(check: Check, token: str) -> None:
    """Calls without sockets."""
    headers = {name.encode(): value.encode() for name, value in HEADERS.items()}
    headers[b"cookie"] = f"theme=dark; __Host-limen={token}; lang=pt".encode()
    request = CheckRequest("GET", b"/page/one?q=1", headers)
    forged = mint_token(b"x" * 32, 10**9)[0].reveal()
    rubbish = CheckRequest("GET", b"/", {**headers, b"cookie": f"__Host-limen={forged}".encode()})

    def whole() -> None:
        outcome = check.answer(request)
        assert isinstance(outcome, Reply) and outcome.answer.allows
        render_answer(check.settle(outcome), head=False)

    timed("decide to answer, memo hit (no journal)", lambda: check.answer(request))
    timed("the same, recorded and rendered", whole)
    timed("a rubbish cookie, sent to sign-in", lambda: check.answer(rubbish))


class Trivial(asyncio.Protocol):
    """The always-yes check of the same kind."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Say yes."""
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class Client(asyncio.Protocol):
    """Sends one message again and again, one at a time."""

    def __init__(self, message: bytes, calls: int, done: asyncio.Future[None]) -> None:
        self.message, self.left, self.done = message, calls, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        """Take an answer, and send the next."""
        assert data.startswith(b"HTTP/1.1 200"), data
        self.left -= 1
        if self.left:
            self.transport.write(self.message)
        else:
            self.transport.close()
            self.done.set_result(None)


async def load(path: Path, message: bytes, *, connections: int = 8, calls: int = 2_500) -> float:
    """Return the CPU µs of this process, client included, per request."""
    loop = asyncio.get_running_loop()
    began, waits = time.process_time(), []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_unix_connection(lambda d=done: Client(message, calls, d), str(path))
        waits.append(done)
    await asyncio.gather(*waits)
    return (time.process_time() - began) / (connections * calls) * 1e6


async def bench_socket(folder: Path, check: Check, token: str) -> None:
    """Both checks over a Unix socket; the client's part is the same in both."""
    loop = asyncio.get_running_loop()
    trivial = await loop.create_unix_server(Trivial, str(folder / "trivial.sock"))
    server = await start_check(
        folder / "check.sock", check, control=NoControl(), explainer=NoExplainer(), tally=Tally()
    )
    for _ in range(2):
        yes = await load(folder / "trivial.sock", wire(token))
        ours = await load(folder / "check.sock", wire(token))
    print(f"{'over a socket: always yes':<44} {yes:8.1f} µs CPU, client included")
    print(f"{'over a socket: Limen':<44} {ours:8.1f} µs CPU, client included")
    print(f"{'Limen adds':<44} {ours - yes:8.1f} µs CPU per request")
    trivial.close()
    await server.close()


def main(*, quick: bool = False) -> None:
    """Run all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check, token, journal, memo = build(folder)
        bench_pure(check, token)
        uvloop.run(bench_socket(folder, check, token))
        print(f"memo: {memo.hits} hits, {memo.misses} misses")
        journal.close()


if __name__ == "__main__":
    main()
