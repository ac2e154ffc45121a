"""Control and a gateway in one process, for tests of machines: real engine, real feed, fake clock.

Tokens are asked for at the console's own token endpoint; requests go to the check, and streams to the
registry and the reassessor of a gateway that hears of control's commits.
"""

import hashlib
import json
import math
import secrets
from pathlib import Path
from typing import Any

import httpx
from check_world import NONCE, FakeExplainer, FakePages, FakeSigner
from identity_world import AUTH, DOMAIN, World
from joserfc import jwt
from joserfc.jwk import ECKey
from oauth_world import LIMEN_POLICY, MemoryJournal

from limen.administrator.active import load_bundle
from limen.administrator.authority import Authority
from limen.administrator.policies import PolicyAdministrator
from limen.administrator.reassess import Reassessor
from limen.administrator.replica import Replica
from limen.administrator.streams import Ending, LiveStream, Streams
from limen.administrator.workload_keys import WorkloadKeys
from limen.administrator.workloads import Workloads
from limen.core.changes import WorkloadFact
from limen.core.clock import FakeClock
from limen.core.record import EventRecord
from limen.core.secret import Secret
from limen.enforcement.check.answer import Answer
from limen.enforcement.check.case import AskControl, Pending, Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.enforcement.check.request import CheckRequest
from limen.enforcement.leash.opening import live_stream
from limen.enforcement.leash.wire import protocol_of
from limen.engine.memo import Memo
from limen.information.identity.dpop import hash_of

ISSUER = "https://ci.example"
AUDIENCE = AUTH
TRUST = "prod.example"
PORT = 9443
MACHINE_AUTH = f"https://auth.{DOMAIN}:{PORT}"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"

LIMEN_YAML = f"""
domain: {DOMAIN}
apps:
  wiki: {{upstream: "http://127.0.0.1:1", allow: [workload:ci, workload:billing, workload:legacy]}}
  pay: {{upstream: "http://127.0.0.1:2", allow: [workload:billing]}}
services:
  ledger: {{address: "127.0.0.1:5432", protocol: postgres, allow: [workload:ci, workload:billing]}}
clients:
  payments:
    audience: https://api.example/payments
    allow: [workload:billing]
machines:
  port: {PORT}
  access: 30m
  secrets: [legacy]
  issuers:
    ci:
      issuer: {ISSUER}
      audience: {AUDIENCE}
      workloads:
        ci: {{sub: "repo:acme/*:ref:refs/heads/main", event: push}}
        billing: {{sub: "repo:acme/billing:ref:refs/heads/main", environment: prod}}
  spiffe:
    {TRUST}:
      bundle: prod-ca.pem
      workloads:
        billing: spiffe://{TRUST}/billing
"""
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


class Issuer(httpx.BaseTransport):
    """A CI system: it signs tokens, and publishes its keys. `down` for when it does not answer."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.published = [self.key]
        self.down = False
        self.asked: list[str] = []
        self.said: dict[str, Any] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if self.down:
            raise httpx.ConnectError("no")
        if request.url.path.endswith("/openid-configuration"):
            return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"} | self.said)
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.published]})

    def token(self, now: float, header: dict[str, Any] | None = None, **claims: Any) -> str:
        found = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "event": "push",
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        found = {name: value for name, value in found.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": self.key.kid, **(header or {})}, found, self.key)


class MachineWorld(World):
    """Workloads `ci`, `billing` and `legacy`, whom grace answers for, and a gateway."""

    def __init__(self, folder: Path, *, limen_yaml: str = LIMEN_YAML) -> None:
        self.journal = MemoryJournal()
        clock = FakeClock()
        self.authority = Authority(Replica(load_bundle), self.journal, clock, "control")
        self.issuer = Issuer()
        super().__init__(folder, clock=clock, authority=self.authority, transport=self.issuer)
        self.files = {
            "limen.yaml": limen_yaml,
            "policies/entitlements/limen.cedar": LIMEN_POLICY,
            "prod-ca.pem": PEM,
        }
        with self.store.transaction("test", "start") as tx:
            tx.change("workload", "host-operator", WorkloadFact("host-operator", owner=""))
        self.replica = Replica(load_bundle)
        self.gateway_journal = MemoryJournal()
        self.streams = Streams(clock)
        self.closed: dict[str, Ending] = {}
        self.seen: dict[str, float] = {}
        memo = Memo()
        self.check = Check(self._parts(memo))
        self.reassessor = Reassessor(
            self.replica,
            self.streams,
            memo,
            self.gateway_journal,
            clock,
            node="gw",
        )
        self.store.follow(self._restart, self._follow)
        self.policies = PolicyAdministrator(self.store, self.authority)
        self.apply(self.files, first=True)
        self.add("grace")
        self.add("heidi")
        self.workloads = Workloads(self.parts.desk.ledger, clock, self.key)
        self.keys = WorkloadKeys(self.parts.desk.ledger, self.parts.desk.catalogue)
        self.key_of: dict[str, ECKey] = {}
        for name in ("ci", "billing", "legacy"):
            self.workloads.create(name, owner="grace", description="", actor="test", reason="")

    def _restart(self, snapshot: Any) -> None:
        self.authority.update(lambda replica: replica.apply_snapshot(snapshot))
        self.replica.apply_snapshot(snapshot)
        self.refresh()

    def _follow(self, changes: Any) -> None:
        self.authority.update(lambda replica: replica.apply(changes))
        self.replica.apply(changes)
        self.refresh()

    def refresh(self) -> None:
        """Have the gateway know that it knows everything."""
        self.replica.confirm(self.clock.boot_s(), self.replica.seq)

        def confirm(replica: Replica) -> None:
            replica.confirm(self.clock.boot_s(), replica.seq)

        self.authority.update(confirm)

    def later(self, seconds: float) -> None:
        """Let time pass at which the feed goes on."""
        self.clock.advance(seconds)
        self.refresh()

    def _parts(self, memo: Memo) -> CheckParts:
        return CheckParts(
            replica=self.replica,
            engine=memo,
            journal=self.gateway_journal,
            signer=FakeSigner(),
            explainer=FakeExplainer(),
            pages=Pages(FakePages().render, {}),
            unseal=lambda fact: Secret(fact.sealed),
            clock=self.clock,
            token_key=self.key,
            node="gw",
            make_nonce=lambda: NONCE,
            note_seen=lambda session, at: self.seen.update({session: at}),
        )

    def apply(self, files: dict[str, str], *, first: bool = False) -> None:
        """Put a bundle in force."""
        self.policies.apply(files, actor="test", reason="test", first=first)
        self.catalogue = self.authority.active().catalogue

    # --- proving -----------------------------------------------------------------------------------

    def give_key(self, name: str) -> ECKey:
        """Register a key of a workload."""
        key = ECKey.generate_key("P-256", {"kid": f"{name}-1"})
        self.keys.add_key(
            name, key.as_dict(private=False), label="k", life_s=30 * 86_400, actor="test", reason=""
        )
        self.key_of[name] = key
        return key

    def assertion(self, name: str, key: ECKey | None = None, **claims: Any) -> str:
        """Return what a workload signs to prove itself."""
        now = self.clock.now()
        found = {
            "iss": name,
            "sub": name,
            "aud": AUTH,
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_urlsafe(16),
            **claims,
        }
        found = {key_: value for key_, value in found.items() if value is not None}
        key = key or self.key_of.get(name) or self.give_key(name)
        return jwt.encode({"alg": "ES256", "kid": key.kid}, found, key)

    def post(self, form: dict[str, str], **headers: str) -> httpx.Response:
        """Ask the token endpoint as a program does."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"accept": "application/json", "x-limen-peer": "198.51.100.7", **names}
        answer: httpx.Response = self.browser().http.post("/oauth2/token", data=form, headers=sent)
        return answer

    def ask(self, name: str, *, dpop: str = "", **more: str) -> httpx.Response:
        """Ask for a token by a key."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": self.assertion(name),
            **more,
        }
        return self.post(form, **({"dpop": dpop} if dpop else {}))

    def token(self, name: str = "ci", **more: Any) -> str:
        """Return a token got by a key."""
        answer = self.ask(name, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def exchange(self, token: str, **more: str) -> httpx.Response:
        """Exchange a token of CI."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": f"{TYPE}jwt",
            **more,
        }
        return self.post(form)

    def certificate(self, uri: str = f"spiffe://{TRUST}/billing", seed: str = "c") -> dict[str, str]:
        """Return what Envoy notes of a verified certificate."""
        now = self.clock.now()
        return {
            "x-limen-cert-uris": uri,
            "x-limen-cert-sha256": hashlib.sha256(seed.encode()).hexdigest(),
            "x-limen-cert-starts": f"{now - 60:.0f}",
            "x-limen-cert-ends": f"{now + 3600:.0f}",
        }

    def proof(self, key: ECKey, method: str, url: str, token: str | None = None, **claims: Any) -> str:
        """Return a DPoP proof."""
        found = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url,
            "iat": self.clock.now(),
            **({} if token is None else {"ath": hash_of(token)}),
            **claims,
        }
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
        return jwt.encode(header, found, key)

    # --- using -------------------------------------------------------------------------------------

    def request(
        self, token: str = "", path: str = "/", *, host: str = "wiki", method: str = "GET", **headers: str
    ) -> CheckRequest:
        """Build a request to an app, or CONNECT to a service."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        port = ":443" if method == "CONNECT" else ":8443"
        found = {"host": f"{host}.{DOMAIN}{port}", "x-limen-peer": "203.0.113.7", **named}
        if token:
            found.setdefault("authorization", f"Bearer {token}")
        target = b"" if method == "CONNECT" else path.encode()
        return CheckRequest(method, target, {k.encode(): v.encode() for k, v in found.items()})

    def answer(self, request: CheckRequest, *, leashed: bool = False) -> Reply:
        """Answer a request as the shell does."""
        outcome = self.check.answer(request, leashed=leashed)
        if isinstance(outcome, AskControl):
            outcome = self.check.answer(request, leashed=leashed, asked_control=True)
        if isinstance(outcome, Pending):
            outcome = self.check.explained(outcome, None)
        assert isinstance(outcome, Reply)
        return outcome

    def get(self, token: str = "", path: str = "/", **more: str) -> Answer:
        """Return the answer that leaves."""
        return self.check.settle(self.answer(self.request(token, path, **more)))

    def open(self, request: CheckRequest) -> LiveStream | None:
        """Open a live stream; None when it was refused."""
        reply = self.answer(request, leashed=True)
        self.check.settle(reply)
        if reply.opening is None:
            return None
        name = reply.opening.case.question.id
        stream = live_stream(
            reply.opening, protocol_of(request), lambda ending: self.closed.update({name: ending})
        )
        self.streams.add(stream)
        self.settle()
        return stream

    def settle(self) -> None:
        """Let the reassessor do all that is due."""
        while self.reassessor.work(math.inf) == 0.0:
            pass

    def is_live(self, stream: LiveStream) -> bool:
        """Say whether a stream goes on, once all that is due was done."""
        self.settle()
        return self.streams.get(stream.id) is not None

    def why(self, kind: str) -> list[str]:
        """Return what the operator is told."""
        told = [one for one in self.gateway_journal.records if isinstance(one, EventRecord)]
        return [str(one.data.get("why")) for one in (*self.events, *told) if one.kind == kind]


def body_of(answer: Answer) -> dict[str, Any]:
    """Return a problem document."""
    found: dict[str, Any] = json.loads(answer.body)
    return found
