"""A small world for tests of the check: one wiki, a few people, and fakes that can be made to fail."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from limen.administrator.active import ActiveBundle
from limen.administrator.projections import KINDS
from limen.administrator.replica import Replica
from limen.core.catalogue import (
    AppConfig,
    Catalogue,
    CorsConfig,
    IdentityConfig,
    RouteConfig,
    ServiceConfig,
    StreamLimits,
)
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    PersonFact,
    Projection,
    SecretFact,
    SessionFact,
    Snapshot,
)
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Code, Decision, Explanation, Facts, Remedy, Verdict
from limen.core.errors import Unavailable
from limen.core.ids import BundleId
from limen.core.record import DecisionRecord, Record
from limen.core.resources import catalogue_entities
from limen.core.secret import Secret
from limen.core.tokens import mint_token, token_hash
from limen.enforcement.check.answer import Answer
from limen.enforcement.check.case import AskControl, Outcome, Pending, Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.request import CheckRequest
from limen.journal.writer import Once

KEY = b"k" * 32
NOW = 1_800_000_000.0
NONCE = "0123456789abcdef" * 2
PORT = ":8443"
WIKI_HOST = "wiki.limen.test"
PRESET = {"user": "X-Forwarded-User", "email": "X-Forwarded-Email", "groups": "X-Forwarded-Groups"}

APPS = {
    "wiki": AppConfig(
        name="wiki",
        host=WIKI_HOST,
        upstream=("http://127.0.0.1:1",),
        owner="grace",
        routes=(
            RouteConfig("health", "/healthz", public=True),
            RouteConfig("admin", "/admin/**", action="admin"),
        ),
        cors=CorsConfig(("https://spa.example",)),
        trusts=("poster",),
    ),
    "poster": AppConfig(name="poster", host="poster.limen.test", upstream=("http://127.0.0.1:1",)),
    "old": AppConfig(
        name="old",
        host="old.limen.test",
        upstream=("http://127.0.0.1:1",),
        identity=IdentityConfig("headers", PRESET),
        routes=(RouteConfig("open", "/open/**", public=True),),
        allow_encoded_slash=True,
    ),
    "basic": AppConfig(
        name="basic",
        host="basic.limen.test",
        upstream=("http://127.0.0.1:1",),
        identity=IdentityConfig("basic", basic_user="svc", basic_secret="svc-password"),
    ),
}
LEDGER_HOST = "ledger-db.limen.test"
SERVICES = {
    "ledger-db": ServiceConfig("ledger-db", LEDGER_HOST, "db1.internal", 5432, protocol="postgres"),
    "narrow": ServiceConfig(
        "narrow",
        "narrow.limen.test",
        "narrow.internal",
        22,
        streams=StreamLimits(per_session=2, per_subject=3, per_resource=4),
    ),
}
CATALOGUE = Catalogue(domain="limen.test", apps=APPS, services=SERVICES)

PASSKEY = Remedy("passkey", "Use a passkey.")
FRESH = Remedy("fresh-sign-in", "Sign in again.", max_age_s=900)
LAPTOP = Remedy("compliant-device", "Use a compliant laptop.")


class Faults:
    """A queue of faults: `fail(n)` lets `n` calls pass, and breaks the next."""

    def __init__(self) -> None:
        self._queue: list[Exception | None] = []

    def fail(self, error: Exception, after: int = 0) -> None:
        self._queue += [None] * after + [error]

    def pop(self) -> None:
        error = self._queue.pop(0) if self._queue else None
        if error is not None:
            raise error


class FakeEngine(Faults):
    """Allows, unless told what to decide."""

    def __init__(self) -> None:
        super().__init__()
        self.decision = Decision(Verdict.ALLOW, Code.PERMITTED, ("p",), bundle=BundleId("b1"))
        self.asked: list[tuple[AccessRequest, Facts]] = []

    def deny(self, code: Code = Code.FORBIDDEN) -> None:
        self.decision = Decision(Verdict.DENY, code, ("f",), bundle=BundleId("b1"))

    def decide(self, request: AccessRequest, facts: Facts, policies: object) -> Decision:
        self.pop()
        self.asked.append((request, facts))
        return self.decision


class FakeJournal(Faults):
    """Keeps records in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []
        self._once: set[tuple[str, str]] = set()

    @property
    def decisions(self) -> list[DecisionRecord]:
        return [record for record in self.records if isinstance(record, DecisionRecord)]

    def append(self, record: Record, *, urgent: bool = False) -> object:
        self.pop()
        self.records.append(record)
        return len(self.records)

    def append_many(self, items: Sequence[Record | Once], *, urgent: bool = False) -> object:
        taken: list[Record] = []
        once = set(self._once)
        for item in items:
            self.pop()
            if not isinstance(item, Once):
                taken.append(item)
            elif (item.kind, item.id) not in once:
                once.add((item.kind, item.id))
                taken.append(item.make())
        self.records += taken
        self._once = once
        return len(self.records)

    def salted(self, content: bytes) -> str:
        self.pop()
        return f"salted-{hash(content)}"


class FakeSigner(Faults):
    """Signs by counting."""

    def __init__(self) -> None:
        super().__init__()
        self.signed: list[Mapping[str, Any]] = []

    def sign(self, claims: Mapping[str, Any]) -> str:
        self.pop()
        self.signed.append(claims)
        return f"assertion-{len(self.signed)}"


class FakeExplainer(Faults):
    """Explains with what the test put there."""

    def __init__(self) -> None:
        super().__init__()
        self.explanation: Explanation | None = None
        self.known = False

    def cures(self, *remedies: Remedy) -> None:
        self.explanation = Explanation(("A rule.",), tuple(sorted(remedies)), owner="grace")

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        self.pop()
        return self.explanation if self.known else None

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        self.pop()
        return self.explanation


class FakePages(Faults):
    """Renders a page as its context."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, Any] = {}

    def render(self, template: str, **context: Any) -> str:
        self.pop()
        self.last = {"template": template, **context}
        return f"<html>{template}</html>"


class CheckWorld:
    """A check with its fakes, and a signed-in Ada."""

    def __init__(self, catalogue: Catalogue = CATALOGUE) -> None:
        self.catalogue = catalogue
        self.clock = FakeClock(NOW)
        self.engine, self.journal, self.signer = FakeEngine(), FakeJournal(), FakeSigner()
        self.explainer, self.pages = FakeExplainer(), FakePages()
        self.seen: list[tuple[str, float]] = []
        self.replica = Replica(self._load)
        self.token, self.api_token = self.mint(5), self.mint(5)
        rows: list[Projection] = [
            BundleFact("active", "b1", {"limen.yaml": "x"}),
            PersonFact(id="ada", name="Ada", email="ada@limen.test", groups=("hr", "staff")),
            SessionFact("s1", "ada", 2, False, ("password", "totp"), NOW, NOW, NOW + 3600),
            AppSessionFact(self.hash_of(self.token), "s1", "wiki", NOW + 3600),
            AppSessionFact(self.hash_of(self.api_token), "s1", "wiki", NOW + 3600, "token"),
            SecretFact("svc-password", "sealed:hunter2"),
        ]
        self.replica.apply_snapshot(Snapshot("e", 100, tuple(enumerate(rows, 1))))
        self.replica.confirm(self.clock.boot_s(), 100)
        self.check = Check(
            CheckParts(
                replica=self.replica,
                engine=self.engine,
                journal=self.journal,
                signer=self.signer,
                explainer=self.explainer,
                pages=Pages(self.pages.render, {"content-type": "text/html; charset=utf-8"}),
                unseal=lambda fact: Secret(fact.sealed.removeprefix("sealed:")),
                clock=self.clock,
                token_key=KEY,
                node="gw",
                make_nonce=lambda: NONCE,
                note_seen=lambda session, at: self.seen.append((session, at)),
                inputs_of=lambda request, facts, policies: {"resource": facts.resource.digest},
            )
        )

    def _load(self, fact: BundleFact) -> ActiveBundle:
        entities = catalogue_entities(self.catalogue)
        return ActiveBundle(fact.bundle_id, self.catalogue, object(), entities)  # type: ignore[arg-type]

    @staticmethod
    def mint(seq: int) -> str:
        token, _ = mint_token(KEY, seq)
        return token.reveal()

    @staticmethod
    def hash_of(token: str) -> str:
        return token_hash(token)

    def sign_in(self, app: str, kind: str = "cookie") -> str:
        """Give Ada a session of `app`, and return its token."""
        token = self.mint(self.replica.seq + 1)
        self.commit(AppSessionFact(self.hash_of(token), "s1", app, NOW + 3600, kind))
        return token

    def commit(self, *values: Projection | tuple[str, str]) -> None:
        """Apply one transaction: projections, or (kind, id) tombstones. The replica stays fresh."""
        first = self.replica.seq + 1
        last = first + len(values) - 1
        self.replica.apply(
            Change(first + n, last, value[0], value[1], None, "t", "t", NOW)
            if isinstance(value, tuple)
            else Change(first + n, last, KINDS[type(value)], value.id, value, "t", "t", NOW)
            for n, value in enumerate(values)
        )

    def ask(self, request: CheckRequest, **more: bool) -> Outcome:
        return self.check.answer(request, **more)

    def settle(self, request: CheckRequest) -> Answer:
        """Answer as the shell does, with control's answer and the explanation at hand."""
        outcome = self.check.answer(request)
        if isinstance(outcome, AskControl):
            outcome = self.check.answer(request, asked_control=True)
        if isinstance(outcome, Pending):
            outcome = self.check.explained(outcome, self.explainer.explanation)
        assert isinstance(outcome, Reply)
        return self.check.settle(outcome)

    def leashed(self, request: CheckRequest) -> Reply:
        """Return the reply to a leashed request for which nothing must be waited for."""
        outcome = self.check.answer(request, leashed=True)
        assert isinstance(outcome, Reply), outcome
        return outcome


def connect(host: str = LEDGER_HOST + ":443", token: str | None = None, **headers: str) -> CheckRequest:
    """Build a CONNECT. `token` is a client's."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return request(b"", "CONNECT", host=host, **headers)


def request(
    target: str | bytes = "/",
    method: str = "GET",
    *,
    host: str = WIKI_HOST + PORT,
    token: str | None = None,
    navigate: bool = False,
    peer: str | None = "203.0.113.7",
    **headers: str,
) -> CheckRequest:
    """Build a request. `token` goes into the session cookie; header names use `_` for `-`."""
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    found["host"] = host
    if peer is not None:
        found["x-limen-peer"] = peer
    if token is not None:
        found["cookie"] = f"__Host-limen={token}"
    if navigate:
        found |= {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    raw = target if isinstance(target, bytes) else target.encode()
    return CheckRequest(method, raw, {k.encode(): v.encode("utf-8") for k, v in found.items()})


def header(answer: Answer, name: str) -> str | None:
    """Return the first header of that name."""
    return next((value for key, value in answer.headers if key == name), None)


def all_headers(answer: Answer, name: str) -> list[str]:
    return [value for key, value in answer.headers if key == name]


def query(url: str) -> dict[str, str]:
    """Return the query of a URL."""
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


def upstream_headers(sent: Mapping[str, str], answer: Answer) -> dict[str, str]:
    """Return what the app receives: Envoy sets the answer's headers, then removes those it names."""
    assert answer.status == 200
    result = dict(sent)
    removed: list[str] = []
    for name, value in answer.headers:
        if name == "x-envoy-auth-headers-to-remove":
            removed = value.split(",")
        else:
            result[name] = value
    return {name: value for name, value in result.items() if name not in removed}


UNAVAILABLE = Unavailable("The disk is full.", code="JOURNAL_FULL")
