"""The check on real parts: engine, memo, journal, signer. What it recorded derives again (law D5)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from check_world import KEY, NOW, header, request
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import KeySet

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    Change,
    GrantFact,
    GroupFact,
    PersonFact,
    SessionFact,
    Snapshot,
)
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Decision, Explanation, Facts
from limen.core.record import BundleRecord, DecisionRecord, InputsRecord
from limen.core.secret import Secret
from limen.core.tokens import mint_token
from limen.enforcement.check.answer import Answer
from limen.enforcement.check.assertion import AssertionSigner
from limen.enforcement.check.case import Pending, Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.engine.bundle import parse_bundle
from limen.engine.explain import explain
from limen.engine.memo import Memo
from limen.engine.policies import compile_policies
from limen.engine.replay import agrees, rederive
from limen.journal.reader import JournalReader
from limen.journal.writer import Journal

FILES = {
    "limen.yaml": """\
domain: limen.test
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    allow: [group:staff]
    routes:
      - {name: admin, path: /admin/**, action: admin}
      - {name: health, path: /healthz, public: true}
""",
    "policies/guardrails/rules.cedar": """\
@id("mfa")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
@id("fresh-admin")
@reason("Sign in again.")
forbid(principal is User, action == Action::"admin", resource)
unless { context has session && context.session.auth_age <= duration("15m") };
@id("away")
@reason("Not from there.")
forbid(principal, action, resource) when { context.network.ip.isInRange(ip("198.51.100.0/24")) };
""",
    "policies/entitlements/admin.cedar": """\
@id("staff-admin")
permit(principal in Group::"staff", action == Action::"admin", resource in App::"wiki");
""",
}


class RealWorld:
    """A check on real parts, and Ada signed in with a second factor."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(NOW)
        token, token_hash = mint_token(KEY, 1)
        self.token = token.reveal()
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.signer = AssertionSigner(key)
        self.journal = Journal.open(folder, "gw", self.clock)
        self.replica = Replica(load_bundle)
        rows = (
            BundleFact("active", parse_bundle(FILES).id, FILES),
            GroupFact("staff"),
            PersonFact(id="ada", name="Ada", email="ada@limen.test", groups=("staff",)),
            SessionFact("s1", "ada", 2, False, ("password", "totp"), NOW, NOW, NOW + 9e4),
            AppSessionFact(token_hash, "s1", "wiki", NOW + 9e4),
        )
        self.replica.apply_snapshot(Snapshot("e", 10, tuple(enumerate(rows))))
        self.replica.confirm(self.clock.boot_s(), 10)
        self.check = Check(
            CheckParts(
                replica=self.replica,
                engine=Memo(),
                journal=self.journal,
                signer=self.signer,
                explainer=self,
                pages=Pages(lambda template, **_: template, {}),
                unseal=lambda fact: Secret(fact.sealed),
                clock=self.clock,
                token_key=KEY,
                node="gw",
                make_nonce=lambda: "0" * 32,
                note_seen=lambda session, at: None,
            )
        )

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        return None

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        raise AssertionError("the test explains")

    def ask(self, target: str = "/", method: str = "GET", **more: Any) -> Answer:
        outcome = self.check.answer(request(target, method, token=self.token, **more))
        if isinstance(outcome, Pending):
            assert self.replica.active is not None
            found = explain(outcome.case.question, outcome.facts, self.replica.active.policies)
            outcome = self.check.explained(outcome, found)
        assert isinstance(outcome, Reply)
        return self.check.settle(outcome)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RealWorld]:
    made = RealWorld(tmp_path)
    yield made
    made.journal.close()


def test_d5_everything_recorded_derives_again(world: RealWorld) -> None:
    statuses = [world.ask().status, world.ask(navigate=True).status, world.ask("/admin/x").status]
    statuses.append(world.ask(peer="198.51.100.9").status)
    world.clock.advance(20)
    statuses.append(world.ask().status)
    world.clock.advance(881)
    world.replica.confirm(world.clock.boot_s(), 10)
    statuses.append(world.ask("/admin/x", navigate=True).status)
    world.clock.advance(300.000_25)
    statuses.append(world.ask().status)
    assert statuses == [200, 200, 200, 403, 200, 302, 503]
    world.journal.close()

    records = list(JournalReader(world.folder).read())
    inputs = {record.id: record for record in records if isinstance(record, InputsRecord)}
    bundles = {record.id: record for record in records if isinstance(record, BundleRecord)}
    decisions = [record for record in records if isinstance(record, DecisionRecord)]
    assert len(decisions) == 7 and len(inputs) < 7
    for record in decisions:
        policies = compile_policies(parse_bundle(bundles[record.bundle].files))
        assert agrees(record, rederive(record, inputs[record.inputs], policies)), record


def test_r1_what_a_change_denies_is_denied_at_the_next_request(world: RealWorld) -> None:
    assert world.ask().status == 200
    gone = PersonFact(id="ada", name="Ada", email="", groups=())
    world.replica.apply([Change(11, 11, "person", "ada", gone, "t", "t", NOW)])
    assert world.ask().status == 403
    grant = GrantFact("g", ("User", "ada"), ("read",), ("App", "wiki"), NOW + 60)
    world.replica.apply([Change(12, 12, "grant", "g", grant, "t", "t", NOW)])
    assert world.ask().status == 200 and world.ask("/", "POST").status == 403
    world.clock.advance(60)
    assert world.ask().status == 403


def test_a_denial_by_age_is_cured_by_signing_in_again(world: RealWorld) -> None:
    world.clock.advance(1_000)
    world.replica.confirm(world.clock.boot_s(), 10)
    answer = world.ask("/admin/x", navigate=True)
    assert "&need=fresh-sign-in&max_age=900" in (header(answer, "location") or "")


def test_an_app_can_verify_the_assertion_by_the_published_key(world: RealWorld) -> None:
    keys = KeySet.import_key_set({"keys": [world.signer.public_jwk()]})
    token = jwt.decode(header(world.ask(), "x-limen-assertion") or "", keys, algorithms=["ES256"])
    assert token.claims["aud"] == "wiki" and token.claims["sub"] == "ada"
    assert token.claims["sid"] == "s1" and token.claims["groups"] == ["staff"]
    assert "d" not in world.signer.public_jwk()
