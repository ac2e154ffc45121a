"""The leash on its real socket, and a client that plays Envoy."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from check_world import CATALOGUE, LEDGER_HOST, NOW, PORT, WIKI_HOST, CheckWorld, Faults, request
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limen.administrator.streams import Cause, Ending, LiveStream, Streams
from limen.core.catalogue import CONNECT_APP, Catalogue
from limen.core.changes import AppSessionFact, PersonFact, SessionFact
from limen.enforcement.check.metrics import Tally
from limen.enforcement.check.protocol import Shell
from limen.enforcement.check.request import CheckRequest
from limen.enforcement.leash.leash import Leash
from limen.enforcement.leash.metrics import LeashTally
from limen.enforcement.leash.server import LeashServer, start_leash
from limen.enforcement.leash.watchdog import Watchdog
from limen.enforcement.leash.wire import METHOD, SERVICE

WAIT_S = 20.0
OPERATOR = Ending(Cause.OPERATOR, "An operator ended this connection.")


class FakeControl(Faults):
    """Answers an ask at once, after what the test wants to happen first."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.before_answer: Callable[[], None] = lambda: None

    async def ask(self) -> None:
        self.asked += 1
        self.pop()
        self.before_answer()

    def note_seen(self, session_id: str, at: float) -> None:
        pass


class LeashWorld(CheckWorld):
    """A leash on the fakes of the check, with Ada's client token for all services."""

    def __init__(self, folder: Path, catalogue: Catalogue = CATALOGUE) -> None:
        super().__init__(catalogue)
        self.path = folder / "leash.sock"
        self.control = FakeControl()
        self.ended: list[tuple[LiveStream, Ending]] = []
        self.streams = Streams(self.clock, on_end=lambda stream, ending: self.ended.append((stream, ending)))
        self.tally, self.counts = Tally(), LeashTally()
        self.leash = Leash(
            Shell(self.check, self.control, self.explainer, self.tally), self.streams, self.counts
        )
        self.allowing = self.engine.decision
        self.connect_token = self.sign_in(CONNECT_APP, "token")
        self.server: LeashServer
        self.envoy: FakeEnvoy

    @asynccontextmanager
    async def served(self, watchdog: Watchdog | None = None) -> Any:
        self.server = await start_leash(self.path, self.leash, watchdog=watchdog)
        self.envoy = FakeEnvoy(self.path)
        try:
            yield self
        finally:
            await self.envoy.close()
            await self.server.close()

    def sign_in_other(self, person: str, session: str) -> str:
        """Give somebody a session of their own with a token for services, and return that."""
        token = self.mint(self.replica.seq + 1)
        if self.replica.person(person) is None:
            self.commit(PersonFact(id=person, name=person, email=f"{person}@limen.test"))
        self.commit(
            SessionFact(session, person, 2, False, ("password", "totp"), NOW, NOW, NOW + 3600),
            AppSessionFact(self.hash_of(token), session, CONNECT_APP, NOW + 3600, "token"),
        )
        return token

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds that no event tells of."""
        async with asyncio.timeout(WAIT_S):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.002)


def drive(folder: Path, story: Callable[[LeashWorld], Awaitable[None]]) -> None:
    """Run a story on uvloop, as a gateway does."""

    async def run() -> None:
        async with LeashWorld(folder).served() as world:
            await asyncio.wait_for(story(world), WAIT_S)

    uvloop.run(run())


class FakeEnvoy:
    """Envoy's side of ext_proc, on one HTTP/2 connection."""

    def __init__(self, path: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{path}")
        self._process = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")

    def begin(self) -> "Call":
        """Begin a gRPC stream, and say nothing yet."""
        return Call(self._process())

    async def open(self, sent: CheckRequest, **more: str) -> "Call":
        """Ask for a request; the answer is `call.answer`."""
        call = self.begin()
        await call.say(request_headers=http_headers(sent, **more))
        await call.hear()
        return call

    async def close(self) -> None:
        await self._channel.close()


class Call:
    """One gRPC stream, as Envoy sees it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.answer = pb.ProcessingResponse()
        self._answered = False

    async def say(self, **message: Any) -> None:
        await self._call.write(pb.ProcessingRequest(**message).SerializeToString())

    async def say_raw(self, raw: bytes) -> None:
        await self._call.write(raw)

    async def hear(self) -> Any:
        try:
            raw = await asyncio.wait_for(self._call.read(), WAIT_S)
        except grpc.aio.AioRpcError:
            raw = grpc.aio.EOF  # `ended` tells how
        heard = pb.ProcessingResponse() if raw is grpc.aio.EOF else pb.ProcessingResponse.FromString(raw)
        if not self._answered:
            self.answer, self._answered = heard, True
        return heard

    async def app_answers(self, status: int = 200) -> Any:
        headers = pb.HttpHeaders()
        headers.headers.headers.add(key=":status", raw_value=str(status).encode())
        await self.say(response_headers=headers)
        return await self.hear()

    async def app_ends(self) -> Any:
        await self.say(response_trailers=pb.HttpTrailers())
        return await self.hear()

    async def finish(self) -> grpc.StatusCode:
        """End the stream as Envoy does when both sides are done."""
        await self._call.done_writing()
        return await self.ended()

    def abandon(self) -> None:
        """Reset the stream, as Envoy does when the client is gone."""
        self._call.cancel()

    async def ended(self) -> grpc.StatusCode:
        return await asyncio.wait_for(self._call.code(), WAIT_S)

    @property
    def over(self) -> bool:
        return bool(self._call.done())

    # --- what the answer says ------------------------------------------------------------------------

    @property
    def allowed(self) -> bool:
        return self.answer.WhichOneof("response") == "request_headers"

    @property
    def status(self) -> int:
        assert self.answer.WhichOneof("response") == "immediate_response", self.answer
        return int(self.answer.immediate_response.status.code)

    @property
    def body(self) -> bytes:
        return bytes(self.answer.immediate_response.body)

    @property
    def set_headers(self) -> dict[str, bytes]:
        return {name: value for name, value, _ in changes(self._mutation)}

    @property
    def all_set(self) -> list[tuple[str, bytes, int]]:
        return changes(self._mutation)

    @property
    def removed(self) -> set[str]:
        return set(self._mutation.remove_headers)

    @property
    def id(self) -> str:
        return self.set_headers["x-limen-decision-id"].decode()

    @property
    def _mutation(self) -> Any:
        if self.allowed:
            return self.answer.request_headers.response.header_mutation
        return self.answer.immediate_response.headers


def changes(mutation: Any) -> list[tuple[str, bytes, int]]:
    return [(o.header.key, o.header.raw_value, o.append_action) for o in mutation.set_headers]


def http_headers(sent: CheckRequest, **more: str) -> Any:
    """Return a request's headers as Envoy sends them."""
    headers = pb.HttpHeaders()
    add = headers.headers.headers.add
    add(key=":method", raw_value=sent.method.encode())
    add(key=":authority", raw_value=sent.headers[b"host"])
    if sent.target:
        add(key=":path", raw_value=sent.target)
    for name, value in sent.headers.items():
        if name != b"host":
            add(key=name.decode(), raw_value=value)
    for name, text in more.items():
        add(key=name.replace("_", "-"), raw_value=text.encode())
    return headers


def websocket(token: str | None, target: str = "/ws", **headers: str) -> CheckRequest:
    """Build a handshake as a page of the wiki makes it."""
    headers = {"origin": f"https://{WIKI_HOST}{PORT}", "sec_fetch_mode": "websocket"} | headers
    return request(target, token=token, upgrade="websocket", connection="Upgrade", **headers)


def asking_why(stream_id: str, token: str | None, host: str = LEDGER_HOST) -> CheckRequest:
    """Build the question why a stream was ended."""
    more: Mapping[str, str] = {} if token is None else {"authorization": f"Bearer {token}"}
    return request(f"/.limen/ended/{stream_id}", host=host, **more)
