"""A month of one organisation, as its gateway would have recorded it: 200 people, 30 apps, their sessions.

Every decision is the engine's own, from inputs that are stored beside it, so what is made here can be
verified, searched, compacted and replayed. The same seed makes the same world.

    world = JournalWorld()
    world.fill(journal, 1_000_000)             # through `Journal.append_many`, in turns of the loop
    for record in world.records(10_000): ...   # or one by one, each inputs record once
"""

import random
from collections.abc import Iterator, Sequence

import msgspec

from limen.administrator.active import load_bundle
from limen.administrator.replica import Replica
from limen.core.changes import BundleFact, GroupFact, PersonFact, Snapshot
from limen.core.decision import AccessRequest, Decision, Facts, Network, SessionFacts
from limen.core.ids import DecisionId, EntityRef
from limen.core.record import BundleRecord, DecisionRecord, EventRecord, InputsRecord, OutcomeRecord, Record
from limen.engine.bundle import parse_bundle
from limen.engine.decide import decide
from limen.engine.policies import Policies
from limen.engine.replay import stable_inputs
from limen.journal.writer import Journal, Once

STARTED_AT = 1_800_000_000.0
DAY_S = 86_400.0
GROUPS = ("staff", "hr", "finance", "sales", "support", "platform", "legal", "design", "contractors", "leads")
METHODS = ("GET", "GET", "GET", "GET", "GET", "GET", "POST", "PUT")
PARTS = ("projects", "orders", "people", "reports", "invoices", "search", "files", "board", "api/v2/items")
EVENTS = (
    ("sign_in.succeeded", {"methods": ["password", "totp"], "aal": 2}),
    ("sign_in.failed", {"why": "password"}),
    ("session.ended", {"by": "idle"}),
    ("stream.ended", {"cause": "finished", "protocol": "websocket", "bytes_in": 1200, "bytes_out": 99_000}),
)
GUARDRAIL = """\
@id("mfa-everywhere")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource) unless { context has session && context.session.aal >= 2 };
"""


def bundle_files(apps: int = 30, *, without: Sequence[str] = ()) -> dict[str, str]:
    """Return the bundle of `apps` apps, each open to two groups; `without` leaves groups out of all."""
    lines = ["domain: limen.test", "apps:"]
    for number in range(apps):
        allowed = {GROUPS[number % 5], GROUPS[(number * 3 + 1) % len(GROUPS)]} - set(without)
        names = ", ".join(f"group:{name}" for name in sorted(allowed))
        upstream = f"http://127.0.0.1:{9000 + number}"
        lines.append(f"  app{number:02d}: {{upstream: '{upstream}', allow: [{names}], owner: p000}}")
    return {"limen.yaml": "\n".join(lines) + "\n", "policies/guardrails/mfa.cedar": GUARDRAIL}


class _Session(msgspec.Struct):
    """One sitting of one person: what is derived once for it."""

    person: str
    facts: SessionFacts
    ip: str
    apps: tuple[str, ...]
    decided: dict[tuple[str, str], tuple[Decision, str, Facts]] = {}


class JournalWorld:
    """The organisation. `people` and `apps` say how large it is, `days` over how long its records spread."""

    def __init__(self, *, seed: int = 4, people: int = 200, apps: int = 30, days: int = 30) -> None:
        self.files = bundle_files(apps)
        self.days = days
        self._chance = random.Random(seed)
        self._apps = tuple(f"app{number:02d}" for number in range(apps))
        self._people = tuple(f"p{number:03d}" for number in range(people))
        self.replica = Replica(load_bundle)
        bundle = parse_bundle(self.files)
        rows = (
            BundleFact("active", bundle.id, self.files),
            *(GroupFact(name) for name in GROUPS),
            *(self._person(name) for name in self._people),
        )
        self.replica.apply_snapshot(Snapshot("e", len(rows), tuple(enumerate(rows, 1))))
        active = self.replica.active
        assert active is not None
        self.bundle_id = str(active.id)
        self.policies: Policies = active.policies
        self.inputs_made = 0

    def turns(self, count: int, *, turn: int = 4) -> Iterator[list[Record | Once]]:
        """Yield about `count` records as the gateway appends them: those of one turn of the loop together."""
        made, found = 0, []
        for group in self._groups(count):
            found += group
            made += sum(not isinstance(item, Once) for item in group)
            if len(found) >= turn * 2:
                yield found
                found = []
        if found:
            yield found

    def records(self, count: int) -> Iterator[Record]:
        """Yield exactly `count` records, the bundle and each inputs record once."""
        seen: set[str] = set()
        left = count
        for group in self._groups(count):
            for item in group:
                if isinstance(item, Once):
                    if item.id in seen:
                        continue
                    seen.add(item.id)
                if not left:
                    return
                left -= 1
                yield item.make() if isinstance(item, Once) else item

    def fill(self, journal: Journal, count: int, *, turn: int = 4) -> int:
        """Append about `count` records; return how many turns that took."""
        turns = 0
        for items in self.turns(count, turn=turn):
            journal.append_many(items)
            turns += 1
        return turns

    # --- inside -----------------------------------------------------------------------------------

    def _person(self, name: str) -> PersonFact:
        groups = tuple(sorted({"staff", *self._chance.sample(GROUPS, 2)}))
        return PersonFact(id=name, name=f"Person {name}", email=f"{name}@limen.test", groups=groups)

    def _groups(self, count: int) -> Iterator[list[Record | Once]]:
        """Yield what belongs to one request or event, until `count` records can have been made."""
        bundle = Once("bundle", self.bundle_id, lambda: BundleRecord(self.bundle_id, self.files))
        made, step_s = 0, self.days * DAY_S / max(count / 2, 1)
        at, sessions = STARTED_AT, list[_Session]()
        renewed_at = 0.0
        while made < count:
            at += step_s * self._chance.uniform(0.5, 1.5)
            if not sessions or at - renewed_at > DAY_S:
                renewed_at, sessions = at, [self._session(name, at) for name in self._people]
            session = self._chance.choice(sessions)
            if self._chance.random() < 0.01:
                yield [self._event(session, at)]
                made += 1
                continue
            group = self._request(session, at, made)
            yield [bundle, *group]
            made += 2  # an inputs record now and then comes on top

    def _session(self, person: str, at: float) -> _Session:
        chance = self._chance
        aal = 2 if chance.random() < 0.97 else 1
        methods = ("password", "totp") if aal == 2 else ("password",)
        facts = SessionFacts(
            f"ses_{chance.getrandbits(96):024x}", aal, False, methods, at - 60, at - 60, at + 36 * 3600
        )
        ip = f"198.51.{chance.randrange(100)}.{chance.randrange(1, 255)}"
        return _Session(person, facts, ip, tuple(chance.sample(self._apps, min(8, len(self._apps)))))

    def _request(self, session: _Session, at: float, number: int) -> list[Record | Once]:
        chance = self._chance
        app, method = chance.choice(session.apps), chance.choice(METHODS)
        action = "read" if method == "GET" else "write"
        decision, inputs_id, facts = self._decided(session, app, action, at)
        record_id = f"{int(at * 1000):012x}{chance.getrandbits(80):020x}"
        record = DecisionRecord(
            id=record_id,
            at=round(at, 6),
            node="gw",
            point="gateway",
            verdict=decision.verdict.value,
            code=decision.code.value,
            bundle=decision.bundle,
            inputs=inputs_id,
            action=action,
            resource=f'App::"{app}"',
            subject=f'User::"{session.person}"',
            session=session.facts.id,
            method=method,
            host=f"{app}.limen.test",
            path=f"/{chance.choice(PARTS)}/{chance.randrange(3000)}",
            ip=session.ip,
            policies=decision.policies,
            memo="hit",
            took_us=chance.randrange(20, 90),
            age_s=round(chance.random(), 3),
        )
        status = 200 if decision.allowed else 403
        outcome = OutcomeRecord(
            record_id,
            round(at + 0.02, 6),
            status,
            chance.randrange(2, 400),
            chance.randrange(900),
            chance.randrange(90_000),
        )
        inputs = Once("inputs", inputs_id, lambda: self._inputs(inputs_id, session, app, facts))
        return [inputs, record, outcome]

    def _decided(self, session: _Session, app: str, action: str, at: float) -> tuple[Decision, str, Facts]:
        found = session.decided.get((app, action))
        if found is None:
            facts = self._facts(session, app)
            decision = decide(self._question(session, app, action, at), facts, self.policies)
            same = session.decided.get((app, "write" if action == "read" else "read"))
            inputs_id = same[1] if same else f"{self._chance.getrandbits(128):032x}"
            self.inputs_made += same is None
            found = session.decided[app, action] = (decision, inputs_id, facts)
        return found

    def _facts(self, session: _Session, app: str) -> Facts:
        subject = self.replica.closure(EntityRef("User", session.person))
        resource = self.replica.closure(EntityRef("App", app))
        assert subject is not None and resource is not None
        return Facts(subject, resource, session.facts, network=Network(session.ip))

    def _question(self, session: _Session, app: str, action: str, at: float) -> AccessRequest:
        return AccessRequest(
            DecisionId("0" * 32), at, EntityRef("User", session.person), action, EntityRef("App", app)
        )

    def _inputs(self, inputs_id: str, session: _Session, app: str, facts: Facts) -> InputsRecord:
        question = self._question(session, app, "read", session.facts.started_at)
        return InputsRecord(inputs_id, stable_inputs(question, facts, self.policies))

    def _event(self, session: _Session, at: float) -> EventRecord:
        kind, data = self._chance.choice(EVENTS)
        return EventRecord(
            id=f"evt_{self._chance.getrandbits(96):024x}",
            at=round(at, 6),
            node="gw",
            kind=kind,
            actor=session.person,
            target=session.facts.id if kind.startswith("s") and "sign" not in kind else session.person,
            reason="as the person asked" if kind == "session.ended" else "sign in with a password",
            ip=session.ip,
            data={**data, "person": session.person} if kind == "session.ended" else data,
        )
