"""Traffic for replays: people with sessions, driven through the real check under any bundle, and recorded."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from check_world import KEY, NOW, FakeJournal, request
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import (
    AppSessionFact,
    BundleFact,
    GrantFact,
    GroupFact,
    PersonFact,
    SessionFact,
    Snapshot,
)
from limen.core.clock import FakeClock
from limen.core.decision import AccessRequest, Decision, Explanation, Facts
from limen.core.record import Record
from limen.core.secret import Secret
from limen.core.tokens import mint_token
from limen.enforcement.check.assertion import AssertionSigner
from limen.enforcement.check.case import Pending, Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.parts import CheckParts
from limen.enforcement.check.ports import Pages
from limen.engine.bundle import parse_bundle
from limen.engine.memo import Memo
from limen.journal.writer import Journal

PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
APPS = ("wiki", "payroll")


class Person(NamedTuple):
    """Someone, and how they signed in."""

    name: str
    groups: tuple[str, ...]
    aal: int = 2
    attributes: Mapping[str, Any] = {}
    grant: str = ""  # an app


class Visit(NamedTuple):
    """One request."""

    who: str
    app: str
    path: str = "/"
    method: str = "GET"
    ip: str = "203.0.113.7"
    wait_s: float = 1.0


class Traffic:
    """A real check under one bundle."""

    def __init__(
        self, files: Mapping[str, str], people: Sequence[Person], journal: Journal | None = None
    ) -> None:
        self.clock = FakeClock(NOW)
        self.journal: Any = FakeJournal() if journal is None else journal
        self.replica = Replica(load_bundle)
        self.tokens: dict[tuple[str, str], str] = {}
        groups = sorted({group for person in people for group in person.groups})
        rows: list[Any] = [BundleFact("active", parse_bundle(files).id, files), *map(GroupFact, groups)]
        for person in people:
            rows += self._rows(person)
        self.replica.apply_snapshot(Snapshot("e", 10, tuple(enumerate(rows))))
        self.check = Check(
            CheckParts(
                replica=self.replica,
                engine=Memo(),
                journal=self.journal,
                signer=AssertionSigner(PEM),
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

    def _rows(self, person: Person) -> list[Any]:
        name, session = person.name, f"ses-{person.name}"
        methods = ("password", "totp") if person.aal > 1 else ("password",)
        found: list[Any] = [
            PersonFact(name, name, f"{name}@limen.test", groups=person.groups, attributes=person.attributes),
            SessionFact(session, name, person.aal, False, methods, NOW, NOW, NOW + 9e4),
        ]
        for app in APPS:
            token, token_hash = mint_token(KEY, 1)
            self.tokens[name, app] = token.reveal()
            found.append(AppSessionFact(token_hash, session, app, NOW + 9e4))
        if person.grant:
            ends = NOW + 9e4
            found.append(GrantFact(f"g-{name}", ("User", name), ("read",), ("App", person.grant), ends))
        return found

    def cached(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        return None

    async def find(self, request: AccessRequest, facts: Facts, decision: Decision) -> Explanation | None:
        raise AssertionError("nobody explains here")

    def visit(self, visit: Visit) -> int:
        """Ask once; return the status."""
        self.clock.advance(visit.wait_s)
        self.replica.confirm(self.clock.boot_s(), 10)
        token = self.tokens.get((visit.who, visit.app))
        host = f"{visit.app}.limen.test"
        outcome = self.check.answer(request(visit.path, visit.method, host=host, token=token, peer=visit.ip))
        if isinstance(outcome, Pending):
            outcome = self.check.explained(outcome, None)
        assert isinstance(outcome, Reply), outcome
        return self.check.settle(outcome).status

    def drive(self, visits: Sequence[Visit]) -> list[int]:
        """Ask them all; return the statuses."""
        return [self.visit(visit) for visit in visits]

    def records(self) -> list[Record]:
        """Return what was recorded, as it comes back from a journal."""
        return [
            msgspec.json.decode(msgspec.json.encode(record), type=type(record))
            for record in self.journal.records
        ]


def with_file(files: Mapping[str, str], path: str, text: str) -> dict[str, str]:
    """Return the files with one more, or another one."""
    return {**files, path: text}


def plain(report: Any) -> dict[str, Any]:
    """Return a report as its JSON is read."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
