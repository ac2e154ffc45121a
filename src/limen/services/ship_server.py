"""Control's end of shipping: takes the journals of joined gateways, and knows how far behind each is.

Each gateway ships over one connection at a time; a later one takes the place of the one before. Control
keeps the copies in its own journal folder. Where there are several control nodes, each has the copies that
were shipped to it: a gateway ships to the one that it dialled, from the place that this one names.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from limen.administrator.feed_lines import LineReader, drop, send_line
from limen.administrator.feed_wire import Bye, render_line
from limen.administrator.ledger import Ledger
from limen.administrator.ship_checks import Alarm, Gap
from limen.administrator.ship_mirrors import Mirrors
from limen.administrator.ship_wire import (
    SHIP_LINE_MAX_BYTES,
    Batch,
    Beat,
    Erased,
    Heard,
    Kept,
    Notes,
    Places,
    ShipHello,
    parse_from_shipper,
)
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError, Refused, Unavailable
from limen.core.ids import Instant
from limen.journal.keys import Keys
from limen.services.feed_line import LINGER_S
from limen.services.feed_ports import Peer
from limen.services.ship_erasures import Erasures

SILENCE_MAX_S = 20.0  # a gateway with nothing to send beats each second
RATE_BYTES_S = 16 * 1024 * 1024  # of one gateway, over a minute: 20,000 records a second
BURST_BYTES = 60 * RATE_BYTES_S
TOLD_MAX = 10_000
PENALTY_S = 60.0  # after an alarm, in which that gateway's records are not taken

log = structlog.get_logger("limen.ship")


class Shipping(msgspec.Struct, frozen=True):
    """How far one gateway's records are at this control node.

    Attributes:
        left_bytes: what it said that it has yet to send.
        whole_at: when it last had nothing to send; None: not since control has started.
        alarm: why its records are not taken now; empty: they are.
    """

    left_bytes: int = 0
    whole_at: Instant | None = None
    shipping: bool = False
    alarm: str = ""


class ShipServer:
    """Takes what gateways ship (`serve`), into the journal folder `root`."""

    def __init__(
        self, root: Path, keys: Keys, ledger: Ledger, clock: Clock, *, rate_bytes_s: float = RATE_BYTES_S
    ) -> None:
        self._root, self._keys, self._ledger, self._clock = root, keys, ledger, clock
        self._rate_bytes_s = rate_bytes_s
        self._erasures = Erasures(root)
        self._lines: dict[str, asyncio.Task[None]] = {}
        self._penalties: dict[str, float] = {}  # until when, on the boot clock
        self._told: set[tuple[str, ...]] = set()
        self._states: dict[str, Shipping] = {}

    def state(self, node: str) -> Shipping:
        """Return how far a gateway is."""
        return self._states.get(node, Shipping())

    def age_s(self, node: str) -> float:
        """Return for how long a gateway has had something left to send; infinite: never known whole here."""
        whole_at = self.state(node).whole_at
        return float("inf") if whole_at is None else max(0.0, self._clock.now() - whole_at)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the gateways that have shipped since control started."""
        return tuple(sorted(self._states))

    async def serve(self, first: bytes, lines: LineReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        """Take one gateway's journals until it leaves or may not stay. It is `peer.node`, by certificate."""
        node = peer.node
        assert node is not None, "only TLS brings gateways of other machines"
        await self._displace(node)
        task = asyncio.current_task()
        assert task is not None
        self._lines[node] = task
        mirrors = Mirrors(self._root, node, self._keys, self._clock, lambda gap: self._note_gap(node, gap))
        try:
            await self._greet(first, writer, peer, mirrors)
            lines.max_bytes, lines.silence_s = SHIP_LINE_MAX_BYTES, SILENCE_MAX_S
            await self._take_all(lines, writer, peer, mirrors)
        except Alarm as alarm:
            await asyncio.to_thread(self._raise_alarm, node, alarm)
            _say_bye(writer, alarm)
        except (OSError, LimenError) as error:
            why = getattr(error, "message", "") or str(error) or type(error).__name__
            log.info("ship.ended", node=node, address=peer.address, why=why)
            _say_bye(writer, error if isinstance(error, LimenError) else Unavailable(why, code="SHIP_FAILED"))
        except asyncio.CancelledError:
            drop(writer)
            raise
        finally:
            if self._lines.get(node) is task:
                del self._lines[node]
            self._put(node, shipping=False)
            await asyncio.shield(asyncio.to_thread(mirrors.close))

    def disconnect(self, node: str) -> None:
        """End a gateway's shipping: it was removed, or another machine has its name."""
        line = self._lines.get(node)
        if line is not None:
            line.cancel()
        self._penalties.pop(node, None)

    async def stop(self) -> None:
        """End all."""
        ending = tuple(self._lines.values())
        for line in ending:
            line.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._keys.close()

    # --- erasure ------------------------------------------------------------------------------------

    async def erase(
        self,
        owner: str,
        joined: Sequence[str],
        command: Callable[[str, dict[str, Any]], Awaitable[Sequence[tuple[str, Any]]]],
    ) -> dict[str, bool]:
        """Erase an owner's keys here and at the gateways that answer `command("journal.erase", …)`.

        The others do it before control takes anything from them again. Returns which of `joined` have.
        """
        await asyncio.to_thread(self._erasures.begin, owner, joined)
        await asyncio.to_thread(self._keys.erase, owner)
        for node, report in await command("journal.erase", {"owner": owner}):
            if not report.ok:
                continue
            keys = tuple(str(key) for key in report.data.get("keys", ()))
            try:
                await asyncio.to_thread(self._note_erased, node, (owner,), keys)
            except Alarm as alarm:  # the others have done what they were told
                await asyncio.to_thread(self._raise_alarm, node, alarm)
        left = await asyncio.to_thread(self._erasures.nodes, owner)
        return {node: node not in left for node in joined}

    def forget(self, node: str) -> None:
        """Expect nothing more of a gateway that was removed."""
        self._erasures.done(node)

    def _note_erased(self, node: str, owners: tuple[str, ...], keys: tuple[str, ...]) -> None:
        """Note that a gateway has erased what it was told to. It is told nothing of others' keys by that.

        Those that came while they were erased there go too, and those on their way do not stay.
        """
        owed = set(self._erasures.owners(node)).intersection(owners)
        known = {key: self._keys.owner(key) for key in keys}
        strange = [key for key, owner in known.items() if owner is not None and owner not in owed]
        if strange:
            raise Alarm(
                "A gateway says that it erased keys of people who were not to be erased.",
                code="KEY_FORGED",
                keys=len(strange),
            )
        self._keys.erase_ids(tuple(known))
        self._erasures.done(node, owners)

    # --- one line -----------------------------------------------------------------------------------

    async def _displace(self, node: str) -> None:
        before = self._lines.get(node)
        if before is not None:
            before.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((before,))

    async def _greet(self, first: bytes, writer: asyncio.StreamWriter, peer: Peer, mirrors: Mirrors) -> None:
        hello, node = parse_from_shipper(first), str(peer.node)
        if not isinstance(hello, ShipHello) or hello.node != node:
            raise Alarm("A gateway wants to ship under another name.", code="JOURNAL_FORGED")
        if self._clock.boot_s() < self._penalties.get(node, 0.0):
            raise Refused(
                "Control takes nothing from this gateway for a minute, because of what it sent.",
                remedy="See `limen event list --kind journal` on control.",
                code="SHIP_PENALTY",
            )
        await asyncio.to_thread(peer.admit)
        owed = await asyncio.to_thread(self._erasures.owners, node)
        kept = await asyncio.to_thread(mirrors.places)
        await send_line(writer, render_line(Places({one.journal: one.place for one in kept}, owed)))
        self._put(node, shipping=True, alarm="")
        log.info("ship.begun", node=node, address=peer.address, journals=len(kept))

    async def _take_all(
        self, lines: LineReader, writer: asyncio.StreamWriter, peer: Peer, mirrors: Mirrors
    ) -> None:
        node, budget = str(peer.node), _Budget(self._rate_bytes_s, self._clock)
        while True:
            message = parse_from_shipper(await lines.line())
            await asyncio.to_thread(peer.admit)
            if isinstance(message, Erased):
                await asyncio.to_thread(self._note_erased, node, message.owners, message.keys)
            elif isinstance(message, Batch) and self._erasures.owners(node):
                raise Refused("The keys that control named must be erased first.", code="SHIP_ERASE_FIRST")
            answer = await self._answer(message, mirrors)
            if isinstance(message, Batch | Beat):
                whole = {} if message.left else {"whole_at": self._clock.now()}
                self._put(node, left_bytes=message.left, **whole)
            await budget.spend(mirrors)
            await send_line(writer, render_line(answer))

    async def _answer(self, message: msgspec.Struct, mirrors: Mirrors) -> Kept | Heard:
        match message:
            case Batch():
                return await asyncio.to_thread(mirrors.take, message)
            case Notes():
                return await asyncio.to_thread(mirrors.take_notes, message)
            case Beat() | Erased():
                return Heard()
            case _:
                raise Invalid("A gateway says that it ships once.", code="SHIP_BROKEN")

    # --- what is told -------------------------------------------------------------------------------

    def _put(self, node: str, **changes: Any) -> None:
        self._states[node] = msgspec.structs.replace(self.state(node), **changes)

    def _raise_alarm(self, node: str, alarm: Alarm) -> None:
        self._penalties[node] = self._clock.boot_s() + PENALTY_S
        self._put(node, alarm=alarm.message)
        log.error("ship.alarm", node=node, code=alarm.code, why=alarm.message, **alarm.facts)
        kind = {"JOURNAL_FORK": "journal.fork", "JOURNAL_FORGED": "journal.forged"}.get(alarm.code)
        self._tell(kind or "journal.refused", node, alarm.message, {"code": alarm.code, **alarm.facts})

    def _note_gap(self, node: str, gap: Gap) -> None:
        log.error("ship.gap", node=node, **msgspec.to_builtins(gap))
        why = "the gateway has lost these records, or removed them before this control had them"
        self._tell("journal.gap", node, why, msgspec.to_builtins(gap))

    def _tell(self, kind: str, node: str, reason: str, facts: dict[str, Any]) -> None:
        """Record an event; the same again is told once, since a gateway tries again for ever."""
        key = (kind, node, *(str(fact) for fact in facts.values()))
        if key in self._told:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told.add(key)
        target = str(facts.get("journal", node))
        self._ledger.tell(kind, actor=f"gateway:{node}", target=target, reason=reason, **facts)


class _Budget:
    """What a gateway may make control do: a burst, and then a rate."""

    def __init__(self, rate_bytes_s: float, clock: Clock) -> None:
        self._rate, self._clock = rate_bytes_s, clock
        self._left, self._at = float(BURST_BYTES), clock.boot_s()

    async def spend(self, mirrors: Mirrors) -> None:
        """Wait until what was done is paid for."""
        now = self._clock.boot_s()
        self._left = min(BURST_BYTES, self._left + (now - self._at) * self._rate) - mirrors.cost_bytes
        self._at, mirrors.cost_bytes = now, 0
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


def _say_bye(writer: asyncio.StreamWriter, error: LimenError) -> None:
    with contextlib.suppress(OSError):
        writer.write(render_line(Bye(error.message, error.code, error.remedy)))
        writer.close()
    asyncio.get_running_loop().call_later(LINGER_S, drop, writer)
