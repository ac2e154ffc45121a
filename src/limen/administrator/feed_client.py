"""A gateway's line to control: follows the feed, pings, asks, reports, obeys commands, reconnects.

`dial` makes the connection, so that the same client speaks over control's Unix socket and over TLS.
Everything that waits here is bounded: by the few requests in flight, by the sessions there are, and by
the time that a silent connection lives.
"""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from limen import __version__
from limen.administrator.active import load_bundle
from limen.administrator.feed_lines import BUFFER_BYTES, Connection, LineReader, drop
from limen.administrator.feed_reader import FeedReader
from limen.administrator.feed_wire import (
    GATEWAY_LINE_MAX_BYTES,
    LINE_MAX_BYTES,
    PROTOCOL,
    PROTOCOL_OLDEST,
    SEEN_PER_LINE,
    Answer,
    Ask,
    Command,
    Hello,
    Ping,
    Pong,
    Ready,
    Renew,
    Report,
    Seen,
    Signed,
    SignLeaf,
    Tx,
    parse_from_control,
    render_line,
)
from limen.administrator.replica import Replica
from limen.administrator.replica_file import ReplicaFile
from limen.core.changes import BundleFact
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError, Refused, Unavailable

PING_EVERY_S = 1.0
SILENCE_MAX_S = 5.0  # without a byte for so long, the connection is given up
DIAL_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 2.0  # below Envoy's timeout for the check
SIGN_TIMEOUT_S = 10.0
SEEN_EVERY_S = 10.0
SKEW_MAX_S = 2.0  # between the clocks of gateway and control, the way of the answer included
BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
SPREAD = (0.5, 1.5)  # a hundred gateways do not come back in the same instant

Dial = Callable[[], Awaitable[Connection]]
"""Makes one connection to control, or raises `OSError` or a `LimenError`."""

Work = Callable[[Mapping[str, Any]], Any]
"""Does one kind of command with its arguments; what it returns is JSON-ready."""

_OTHER_PROTOCOL = re.compile(r"speaks protocol (\d+)")

log = structlog.get_logger("limen.feed")


def dial_unix(path: Path) -> Dial:
    """Return a way to control's socket at `path`."""

    async def dial() -> Connection:
        return Connection(*await asyncio.open_unix_connection(str(path), limit=BUFFER_BYTES))

    return dial


class FeedClient:
    """Keeps `replica` in step with control.

    Attributes:
        connected: control is being followed right now.
        connections: how often a connection was made.
        skew_s: how far this clock was ahead of control's when it last answered.
    """

    def __init__(
        self,
        dial: Dial,
        replica: Replica,
        clock: Clock,
        *,
        node: str,
        file: ReplicaFile | None = None,
        commands: Mapping[str, Work] | None = None,
        streams: Callable[[], int] = lambda: 0,
        protocol_oldest: int = PROTOCOL_OLDEST,
    ) -> None:
        self._dial = dial
        self._replica = replica
        self._clock = clock
        self._node = node
        self._file = file
        self._commands = commands or {}
        self._streams = streams
        self._protocol_oldest = protocol_oldest
        self._protocol = PROTOCOL
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[Ask | Renew | SignLeaf, asyncio.Future[Answer | Signed]]] = {}
        self._seen: dict[str, float] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._restart = False  # what is held cannot be continued: ask for a snapshot
        self.connected = False
        self.connections = 0
        self.skew_s = 0.0

    async def run(self) -> None:
        """Follow control until cancelled; connect again with back-off whenever the feed ends."""
        failures = 0
        while True:
            spoken = self._protocol
            try:
                await self._follow()
            except (OSError, LimenError) as error:
                if self.connected or failures == 0:
                    log.warning("feed.ended", why=str(error) or type(error).__name__)
            finally:
                failures = 0 if self.connected else failures + 1
                self.connected, self._writer = False, None
            if self._protocol == spoken:
                self._protocol = PROTOCOL
                delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                await asyncio.sleep(delay * random.uniform(*SPREAD))  # noqa: S311  # no secret

    async def ask(self) -> None:
        """Return once the replica has everything that control had committed when it was asked (law F4).

        Raises:
            Unavailable: control did not answer in time.
        """
        await self._request(Ask(next(self._numbers)), ASK_TIMEOUT_S)

    async def renew(self, csr: str) -> Signed:
        """Have a fresh certificate of this gateway signed.

        Raises:
            Unavailable: control did not answer in time.
            Refused: it will not sign.
        """
        return _granted(await self._request(Renew(next(self._numbers), csr), SIGN_TIMEOUT_S))

    async def sign_leaf(self, csr: str) -> Signed:
        """Have the development CA sign a certificate of the catalogue's hosts.

        Raises:
            Unavailable: control did not answer in time.
            Refused: it will not sign.
        """
        return _granted(await self._request(SignLeaf(next(self._numbers), csr), SIGN_TIMEOUT_S))

    def note_seen(self, session_id: str, at: float) -> None:
        """Remember that a session was used; control is told in batches."""
        self._seen[session_id] = at

    # --- one connection --------------------------------------------------------------------------

    async def _follow(self) -> None:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            reader, writer = await self._dial()
        lines = LineReader(reader, max_bytes=LINE_MAX_BYTES, silence_s=SILENCE_MAX_S)
        feed = FeedReader(self._replica)
        writer.write(render_line(self._hello()))
        ticking = asyncio.create_task(self._tick(writer, feed))
        try:
            while True:
                message = parse_from_control(await lines.line())
                await _prepare(message)
                try:
                    feed.read(message)
                except Invalid:
                    self._restart = True
                    raise
                except Unavailable as refusal:
                    self._fall_back(refusal)
                    raise
                if feed.synced and self._writer is None:
                    self._begin(writer)
                self._after(message)
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            drop(writer)

    def _hello(self) -> Hello:
        anew = self._restart or (self._file is not None and self._file.foreign)
        epoch, seq = ("", -1) if anew else (self._replica.epoch, self._replica.seq)
        return Hello(self._node, epoch, seq, self._protocol, __version__)

    def _fall_back(self, refusal: Unavailable) -> None:
        """Speak the release before's protocol with a control that knows no other, at once."""
        other = _OTHER_PROTOCOL.search(refusal.message)
        if other is not None and self._protocol_oldest <= int(other[1]) < self._protocol:
            self._protocol = int(other[1])

    def _begin(self, writer: asyncio.StreamWriter) -> None:
        self._writer, self.connected, self._restart = writer, True, False
        self.connections += 1
        log.info("feed.following", epoch=self._replica.epoch, seq=self._replica.seq, protocol=self._protocol)
        for message, _ in self._open.values():
            self._send(message)

    def _after(self, message: object) -> None:
        if isinstance(message, Answer | Signed):
            if message.n in self._open and not self._open[message.n][1].done():
                self._open[message.n][1].set_result(message)
        elif isinstance(message, Pong):
            self._compare_clocks(message.at)
        elif isinstance(message, Command):
            self._send(self._obey(message))
        if self._file is None:
            return
        if isinstance(message, Tx):
            self._file.append(message, self._replica)
        elif isinstance(message, Ready):
            self._file.save(self._replica)
        elif isinstance(message, Pong):
            self._file.note_age(self._replica)

    def _compare_clocks(self, control_at: float) -> None:
        """Note how far this clock is from control's: what ends by time ends by this one."""
        if control_at == 0:
            return
        before, self.skew_s = self.skew_s, self._clock.now() - control_at
        if abs(self.skew_s) > SKEW_MAX_S >= abs(before):
            log.warning("feed.clock_differs", seconds=round(self.skew_s, 1), remedy="Set both clocks by NTP.")

    async def _tick(self, writer: asyncio.StreamWriter, feed: FeedReader) -> None:
        """Ping each second, and report sessions seen each tenth."""
        for beat in itertools.count():
            n, now = next(self._numbers), self._clock.boot_s()
            age = self._replica.age_s(now) if self._replica.confirmed_at is not None else None
            feed.note_ping(n, now)
            writer.write(render_line(Ping(n, self._replica.seq, self._streams(), age)))
            if beat % round(SEEN_EVERY_S / PING_EVERY_S) == 0:
                for seen in self._take_seen():
                    writer.write(render_line(seen))
            await asyncio.sleep(PING_EVERY_S)

    def _take_seen(self) -> Iterator[Seen]:
        seen, self._seen = tuple(self._seen.items()), {}
        for first in range(0, len(seen), SEEN_PER_LINE):
            yield Seen(dict(seen[first : first + SEEN_PER_LINE]))

    # --- requests and commands -------------------------------------------------------------------

    async def _request(self, message: Ask | Renew | SignLeaf, timeout_s: float) -> Answer | Signed:
        answered: asyncio.Future[Answer | Signed] = asyncio.get_running_loop().create_future()
        self._open[message.n] = (message, answered)
        self._send(message)
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            raise Unavailable(
                "Control did not answer.", remedy="Try again shortly.", code="CONTROL_AWAY"
            ) from None
        finally:
            del self._open[message.n]

    def _obey(self, command: Command) -> Report:
        work = self._commands.get(command.do)
        if work is None:
            return _failed(command, "COMMAND_UNKNOWN", f"This gateway does not know '{command.do}'.")
        try:
            return Report(command.n, True, work(command.args))
        except LimenError as error:
            return _failed(command, error.code, error.message)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("feed.command_broken", do=command.do, why=repr(error))
            return _failed(command, "INVALID", f"The arguments of '{command.do}' do not fit.")

    def _send(self, message: Ask | Renew | SignLeaf | Report) -> None:
        """Send, if control is followed. What control of protocol 1 does not know is not sent to it."""
        if self._writer is None or not (self._protocol >= 2 or isinstance(message, Ask)):
            return
        line = render_line(message)
        if isinstance(message, Report) and len(line) > GATEWAY_LINE_MAX_BYTES:
            line = render_line(Report(message.n, False, {"code": "TOO_LONG", "message": "Ask for less."}))
        self._writer.write(line)


def _granted(answer: Answer | Signed) -> Signed:
    if not isinstance(answer, Signed) or answer.refusal:
        why = answer.refusal if isinstance(answer, Signed) else "Control gave no certificate."
        raise Refused(why, remedy="Look at control's log.")
    return answer


def _failed(command: Command, code: str, message: str) -> Report:
    return Report(command.n, False, {"code": code, "message": message})


async def _prepare(message: object) -> None:
    """Compile a bundle on a thread before the replica takes it, so that requests go on meanwhile.

    One that cannot be used is found out again by the replica, whose business that is.
    """
    for change in message.changes if isinstance(message, Tx) else ():
        if isinstance(change.value, BundleFact):
            with contextlib.suppress(LimenError):
                await asyncio.to_thread(load_bundle, change.value)
