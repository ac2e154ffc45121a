"""The shell of the check: HTTP/1.1 with Envoy on a Unix socket, one question at a time a connection.

What is answered in one turn of the loop is recorded with one write, before any of it leaves (law C1).
"""

import asyncio
from time import perf_counter
from typing import NamedTuple, cast

import httptools
import structlog

from limen.core.errors import LimenError
from limen.enforcement.check.answer import Answer, render_answer
from limen.enforcement.check.case import AskControl, Outcome, Pending, Reply
from limen.enforcement.check.check import Check
from limen.enforcement.check.metrics import Tally
from limen.enforcement.check.ports import ControlPort, Explainer
from limen.enforcement.check.refusals import OUTAGE
from limen.enforcement.check.request import CheckRequest

log = structlog.get_logger("limen.check")


class Due(NamedTuple):
    """A reply that has yet to be recorded and sent."""

    connection: "CheckProtocol"
    request: CheckRequest
    reply: Reply
    began: float
    keep_alive: bool


class Shell:
    """Waits on the check's behalf, and settles what it answers."""

    def __init__(self, check: Check, control: ControlPort, explainer: Explainer, tally: Tally) -> None:
        self.check = check
        self.tally = tally
        self.connections: set[CheckProtocol] = set()
        self.waiting: set[asyncio.Task[None]] = set()
        self._control = control
        self._explainer = explainer
        self._due: list[Due] = []

    def answer(self, due: Due) -> None:
        """Record and send a reply once this turn of the loop is over, with all others of the turn."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self.flush)
        self._due.append(due)

    def flush(self) -> None:
        """Record what is due with one write, and let the answers leave."""
        due = [one for one in self._due if one.connection.open]
        self._due.clear()
        answers = self.check.settle_many([one.reply for one in due])
        for one, answer in zip(due, answers, strict=True):
            one.connection.send(one, answer)
            kind = one.reply.kind if answer is one.reply.answer else "outage"
            self.tally.note(kind, perf_counter() - one.began)

    async def wait(self, request: CheckRequest, outcome: Outcome, *, leashed: bool = False) -> Reply:
        """Return the reply, after whatever must be waited for."""
        try:
            return await self._wait(request, outcome, leashed)
        except Exception:
            log.exception("check.failed")  # law C2: an outage now, rather than Envoy's timeout later
            return Reply(OUTAGE, "outage")

    async def _wait(self, request: CheckRequest, outcome: Outcome, leashed: bool) -> Reply:
        if isinstance(outcome, AskControl):
            try:
                await self._control.ask()
            except LimenError:
                return Reply(OUTAGE, "outage")  # control is away: never a login redirect (law F4)
            outcome = self.check.answer(request, leashed=leashed, asked_control=True)
        if isinstance(outcome, Pending):
            case = outcome.case
            explanation = await self._explainer.find(case.question, outcome.facts, outcome.decision)
            outcome = self.check.explained(outcome, explanation)
        assert isinstance(outcome, Reply), "control is asked once"
        return outcome


class CheckProtocol(asyncio.Protocol):
    """One connection of Envoy's."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._owed = 0  # answers that leave at the end of this turn of the loop
        self._ending = False

    @property
    def open(self) -> bool:
        """Whether somebody still waits for an answer."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not subclasses
        self._shell.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: nobody waits for an answer any more."""
        self._transport = None
        self._shell.connections.discard(self)
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        """Read. What is not HTTP, or comes before the last answer left, ends the connection."""
        if self._waiting is not None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # An upgrade was answered when its headers were complete; no more HTTP follows it.
            if self._waiting is None:
                self.close()

    def close(self) -> None:
        """End the connection, after what was answered."""
        self._ending = True
        if self._transport is not None and not self._owed:
            self._transport.close()

    # --- what the parser calls -------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Take the request target; it may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        name = name.lower()
        headers = self._headers
        headers[name] = value if name not in headers else headers[name] + b"," + value

    def on_message_complete(self) -> None:
        """Answer."""
        began = perf_counter()
        request = CheckRequest(self._parser.get_method().decode("ascii"), self._target, self._headers)
        self._target, self._headers = b"", {}
        if self._waiting is not None:
            self.close()
            return
        outcome = self._shell.check.answer(request)
        if isinstance(outcome, Reply):
            self._answer(request, outcome, began)
        else:
            self._waiting = asyncio.get_running_loop().create_task(self._wait(request, outcome, began))
            self._shell.waiting.add(self._waiting)
            self._waiting.add_done_callback(self._shell.waiting.discard)

    def send(self, due: Due, answer: Answer) -> None:
        """Let an answer leave that was recorded."""
        self._owed -= 1
        assert self._transport is not None, "only open connections are answered"
        self._transport.write(render_answer(answer, head=due.request.method == "HEAD"))
        if not due.keep_alive or self._ending:
            self.close()

    async def _wait(self, request: CheckRequest, outcome: Outcome, began: float) -> None:
        reply = await self._shell.wait(request, outcome)
        self._waiting = None
        self._answer(request, reply, began)

    def _answer(self, request: CheckRequest, reply: Reply, began: float) -> None:
        self._owed += 1
        self._shell.answer(Due(self, request, reply, began, self._parser.should_keep_alive()))
