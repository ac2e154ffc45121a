"""A replay: records in, in the order of each journal; a report out. Pure: it reads no file and no clock.

Two kinds. Under *its own* bundle each decision must come out as it was recorded: any difference is an
error. Under a *candidate* the stored facts are rebased (`limen.engine.replay_inputs`), and differences are
what one wants to know: from what was recorded, or, given a *base*, from what that bundle would say today.
"""

from collections.abc import Mapping
from typing import Any

from limen.core.decision import Code, Facts, Verdict
from limen.core.errors import LimenError
from limen.core.ids import Instant
from limen.core.record import BundleRecord, DecisionRecord, InputsRecord, Record
from limen.core.resources import catalogue_entities
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.policies import compile_policies
from limen.engine.replay import agrees
from limen.engine.replay_cases import (
    Answer,
    Case,
    World,
    groups_of,
    is_by_policy,
    nobodys_side,
    plain_policies,
    refused_side,
)
from limen.engine.replay_inputs import UNREADABLE_INPUTS, Inputs
from limen.engine.replay_places import Standing
from limen.engine.replay_report import Effect, Mismatch, Report, Side
from limen.engine.replay_tally import Counting, Tally, effect_of, report_of
from limen.engine.replay_verify import first_mismatch

INPUTS_MAX = 262_144  # stored inputs that are kept parsed, at about 1 kB each
CASES_MAX = 524_288  # at about 0.5 kB each

_DENIED_BEFORE_POLICY = frozenset(
    {Code.CROSS_APP, Code.STREAM_REFUSED, Code.STREAM_LIMIT, Code.PROOF_FAILED, Code.BAD_REQUEST}
)


def make_world(bundle: Bundle) -> World:
    """Return a bundle as decisions are derived under it."""
    return World(bundle.catalogue, compile_policies(bundle), catalogue_entities(bundle.catalogue))


class Replay:
    """One replay. Feed it each journal from where its inputs begin.

    Args:
        candidate: the other bundle; None derives each decision under its own.
        base: what the candidate is compared with; None is what was recorded.
        since: decisions before it do not count; their inputs may be needed all the same.
        tally: what was counted before, to go on with.
    """

    def __init__(
        self,
        candidate: Bundle | None,
        *,
        base: Bundle | None = None,
        since: Instant | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._candidate = None if candidate is None else make_world(candidate)
        self._base = None if base is None else make_world(base)
        self._since = since
        self._counting = Counting(tally)
        self._tally = self._counting.tally
        self._parsing = Inputs(verify=candidate is None)
        self._inputs: dict[str, Facts | str] = {}
        self._used: set[str] = set()
        self._cases: dict[tuple[str, Standing], Case] = {}
        self._base_cases: dict[tuple[str, Standing], Case] = {}
        self._worlds: dict[str, World | str] = {}
        self._sides: dict[tuple[Any, ...], Side] = {}
        self._files: dict[str, Mapping[str, str]] = {}

    @property
    def tally(self) -> Tally:
        """What was counted so far."""
        return self._tally

    def feed(self, record: Record) -> None:
        """Take one record."""
        if isinstance(record, DecisionRecord):
            if self._since is None or record.at >= self._since:
                self._decision(record)
        elif isinstance(record, InputsRecord):
            self.learn(record)
        elif isinstance(record, BundleRecord) and self._candidate is None:
            self._files.setdefault(record.id, record.files)

    def learn(self, record: InputsRecord) -> None:
        """Take stored inputs. They are stored again in each segment: known ones cost nothing."""
        if record.id not in self._inputs:
            if len(self._inputs) >= INPUTS_MAX:
                del self._inputs[next(iter(self._inputs))]
            self._inputs[record.id] = self._parsing.parse(record.facts)

    def report(self, took_s: float = 0.0) -> Report:
        """Return what was found so far."""
        worlds = [world for world in (self._candidate, *self._worlds.values()) if isinstance(world, World)]
        return report_of(
            self._tally,
            bundle="" if self._candidate is None else self._candidate.bundle,
            since=self._since,
            evaluations=sum(world.memo.misses for world in worlds),
            took_s=took_s,
            notes=self._notes(),
        )

    # --- one decision ------------------------------------------------------------------------------

    def _decision(self, record: DecisionRecord) -> None:
        tally, at = self._tally, record.at
        tally.decisions += 1
        if tally.first_at is None or at < tally.first_at:
            tally.first_at = at
        if tally.last_at is None or at > tally.last_at:
            tally.last_at = at
        tally.bundles[record.bundle] = tally.bundles.get(record.bundle, 0) + 1
        world = self._candidate or self._own_world(record.bundle)
        if isinstance(world, str):
            self._counting.miss(world, record.id)
            return
        derived = tally.derived
        try:
            if record.inputs:
                self._from_inputs(record, world)
            else:
                self._without_inputs(record, world)
        except Exception:  # the seam: what a gateway in strange hands made up must not end a replay
            tally.derived = derived
            self._counting.miss(UNREADABLE_INPUTS, record.id)

    def _own_world(self, bundle: str) -> World | str:
        found = self._worlds.get(bundle)
        if found is None:
            files = self._files.get(bundle)
            if files is None:
                return "bundle_missing"  # it may come later: a record of another node
            try:
                parsed = parse_bundle(files)
                found = make_world(parsed) if parsed.id == bundle else "bundle_unreadable"
            except LimenError:
                found = "bundle_unreadable"
            self._worlds[bundle] = found
        return found

    def _from_inputs(self, record: DecisionRecord, world: World) -> None:
        facts = self._inputs.get(record.inputs, "inputs_missing")
        if isinstance(facts, str):
            self._counting.miss(facts, record.id)
            return
        if record.host:
            standing = world.places.find(record.method, record.host, record.path)
        else:
            standing = world.places.named(facts.resource.root, record.action)
        if isinstance(standing, Code):
            self._nowhere(record, standing, facts)
            return
        key = (record.inputs, standing)
        case = self._cases.get(key)
        if case is None:
            case = self._new_case(key, facts, world)
        self._tally.derived += 1
        answer = case.answer(record)
        if self._candidate is None:
            self._verify(record, answer, standing, facts)
        else:
            self._compare(record, answer, case, facts)

    def _new_case(self, key: tuple[str, Standing], facts: Facts, world: World) -> Case:
        standing = key[1]
        if self._candidate is not None:
            facts = world.rebase.facts(facts, standing.resource, standing.staleness_max_s)
        if len(self._cases) >= CASES_MAX:
            self._cases.clear()
        if key[0] not in self._used:
            self._used.add(key[0])
            self._tally.inputs += 1
        case = self._cases[key] = Case(world, standing, facts)
        return case

    # --- the same bundle ---------------------------------------------------------------------------

    def _verify(self, record: DecisionRecord, derived: Answer, standing: Standing, facts: Facts) -> None:
        found = first_mismatch(record, derived, standing, facts)
        if found is None:
            self._tally.same += 1
        else:
            self._counting.mismatch(Mismatch(record.id, *found))

    # --- another bundle ----------------------------------------------------------------------------

    def _compare(self, record: DecisionRecord, answer: Answer, case: Case, facts: Facts) -> None:
        after = answer.side
        said = record.would_be or record.verdict
        if record.bundle == answer.decision.bundle and not agrees(record, answer.decision):
            self._counting.mismatch(
                Mismatch(record.id, "verdict", f"{said} {record.code}", f"{after.verdict} {after.code}")
            )
        recorded = self._base is None or record.bundle == self._base.bundle
        if recorded and said == after.verdict and record.verdict == after.enforced:
            self._tally.same += 1
            return
        before = self._before(record, facts)
        if (before.verdict, before.enforced) == (after.verdict, after.enforced):
            self._tally.same += 1
            return
        effect = effect_of(before, after)
        assert effect is not None, "sides that differ have an effect"
        remedies: tuple[str, ...] = ()
        if effect is Effect.LOSES and is_by_policy(answer.decision):
            remedies = case.cures(record)
            effect = Effect.STEP_UP if remedies else Effect.LOSES
        key = (effect, before, after, remedies)
        self._counting.differ(key, record, case.groups, case.standing.owner)

    def _nowhere(self, record: DecisionRecord, code: Code, facts: Facts | None) -> None:
        """Count a request that the bundle has no place for."""
        self._tally.derived += 1
        after = refused_side(record, code)
        if self._candidate is None:
            self._counting.mismatch(Mismatch(record.id, "resource", record.resource, code.value))
            return
        before = self._before(record, facts)
        effect = effect_of(before, after)
        if effect is None:
            self._tally.same += 1
        else:
            groups = () if facts is None else groups_of(facts)
            self._counting.differ((effect, before, after, ()), record, groups)

    # --- no inputs ---------------------------------------------------------------------------------

    def _without_inputs(self, record: DecisionRecord, world: World) -> None:
        """Derive what the catalogue alone decides; say of the rest why it is not derived."""
        if record.code in _DENIED_BEFORE_POLICY:
            self._counting.miss("not_by_policy", record.id)
            return
        if record.code not in (Code.PUBLIC, Code.NO_SESSION) or not record.host:
            self._counting.miss("no_inputs", record.id)
            return
        standing = world.places.find(record.method, record.host, record.path)
        if isinstance(standing, Code):
            self._nowhere(record, standing, None)
            return
        self._tally.derived += 1
        let_in = record.code == Code.NO_SESSION and record.verdict == Verdict.ALLOW
        after = nobodys_side(standing, let_in=let_in)
        if self._candidate is None:
            self._verify_anonymous(record, after)
            return
        before = self._before(record, None)
        effect = effect_of(before, after)
        if effect is None:
            self._tally.same += 1
            return
        effect = Effect.SIGN_IN if effect is Effect.LOSES else effect
        self._counting.differ((effect, before, after, ()), record, (), standing.owner)

    def _verify_anonymous(self, record: DecisionRecord, derived: Side) -> None:
        if record.code == derived.code and record.verdict == derived.enforced:
            self._tally.same += 1
        else:
            said, found = f"{record.verdict} {record.code}", f"{derived.enforced} {derived.code}"
            self._counting.mismatch(Mismatch(record.id, "verdict", said, found))

    # --- counting ----------------------------------------------------------------------------------

    def _before(self, record: DecisionRecord, facts: Facts | None) -> Side:
        """Return the side that the candidate's is compared with."""
        if self._base is not None and record.bundle != self._base.bundle:
            return self._under_base(record, facts, self._base)
        return self._recorded(record)

    def _under_base(self, record: DecisionRecord, facts: Facts | None, base: World) -> Side:
        if record.host:
            standing = base.places.find(record.method, record.host, record.path)
        else:
            assert facts is not None, "without a host there are inputs"
            standing = base.places.named(facts.resource.root, record.action)
        if isinstance(standing, Code):
            return refused_side(record, standing)
        if facts is None:
            let_in = record.code == Code.NO_SESSION and record.verdict == Verdict.ALLOW
            return nobodys_side(standing, let_in=let_in)
        key = (record.inputs, standing)
        case = self._base_cases.get(key)
        if case is None:
            if len(self._base_cases) >= CASES_MAX:
                self._base_cases.clear()
            rebased = base.rebase.facts(facts, standing.resource, standing.staleness_max_s)
            case = self._base_cases[key] = Case(base, standing, rebased)
        return case.answer(record).side

    def _recorded(self, record: DecisionRecord) -> Side:
        key = (
            *(record.resource, record.action, record.verdict, record.would_be),
            *(record.code, record.policies, record.mode),
        )
        found = self._sides.get(key)
        if found is None:
            if len(self._sides) >= CASES_MAX:
                self._sides.clear()
            found = self._sides[key] = Side(
                resource=record.resource,
                action=record.action,
                verdict=record.would_be or record.verdict,
                enforced=record.verdict,
                code=record.code,
                policies=plain_policies(record.policies),
                mode=record.mode,
            )
        return found

    def _notes(self) -> tuple[str, ...]:
        if self._candidate is None:
            return ()
        read = {
            path.partition(".")[2]
            for path in self._candidate.policies.reads.principal
            if path.startswith("attributes.")
        }
        unseen = sorted(read - self._parsing.attributes) if self._parsing.attributes or read else []
        notes = [
            f"Policies read principal.attributes.{name}, which no recorded person has: it counts as unset."
            for name in unseen
        ]
        return (*notes, *_ALWAYS)


_ALWAYS = (
    "Whoever was denied and gave up asked no more: gains are at least what is said here.",
    "Grants count as far as they stood for the resource that was asked for at the time.",
)
