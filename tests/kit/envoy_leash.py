"""A stand-in for the leash: says what a test says, counts what it holds, ends what it is told to end."""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc

from limen.enforcement.envoy.replies import LEASH_DETAILS

OPTIONS = (("grpc.http2.min_ping_interval_without_data_ms", 500), ("grpc.http2.max_ping_strikes", 0))


class Verdict(NamedTuple):
    """`status` 0 lets the request go on with `headers`; anything else is an answer of the leash's own."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    remove: tuple[str, ...] = ()


class Held:
    """One stream of Envoy's."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.answer: dict[str, str] | None = None
        self.trailers = False
        self.ended = threading.Event()
        self.closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def cut(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self.closing.set)


class FakeLeash(pb_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    """One server on a Unix socket. `verdict` decides; `held` is every stream that ever came, in order."""

    def __init__(self) -> None:
        self.verdict: Callable[[dict[str, str]], Verdict] = lambda headers: Verdict()
        self.held: list[Held] = []
        self._server: grpc.aio.Server | None = None

    async def listen(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # noqa: ASYNC240
        self._server = grpc.aio.server(options=OPTIONS)
        pb_grpc.add_ExternalProcessorServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    @property
    def open(self) -> int:
        return sum(not held.ended.is_set() for held in self.held)

    async def Process(self, requests: Any, context: Any) -> None:
        """Answer each message; abort when told to. (Cancelling the task would leave the call open.)"""
        first = await context.read()
        held = Held(headers_of(first.request_headers))
        self.held.append(held)
        closing = asyncio.create_task(held.closing.wait())
        try:
            await context.write(answer_to(self.verdict(held.headers)))
            while (message := await self._next(context, closing)) is not None:
                await context.write(self._answer(held, message))
            if closing.done():
                await context.abort(grpc.StatusCode.ABORTED, "cut")
        finally:
            closing.cancel()
            held.ended.set()

    async def _next(self, context: Any, closing: "asyncio.Task[Any]") -> Any:
        read = asyncio.create_task(context.read())
        await asyncio.wait((read, closing), return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            read.cancel()
            return None
        message = read.result()
        return None if message is grpc.aio.EOF or closing.done() else message

    def _answer(self, held: Held, message: Any) -> Any:
        if message.HasField("response_headers"):
            held.answer = headers_of(message.response_headers)
            return pb.ProcessingResponse(response_headers=pb.HeadersResponse())
        assert message.HasField("response_trailers")
        held.trailers = True
        return pb.ProcessingResponse(response_trailers=pb.TrailersResponse())


def headers_of(message: Any) -> dict[str, str]:
    """Return the headers of a message; repeated ones are joined by a comma."""
    found: dict[str, str] = {}
    for header in message.headers.headers:
        value = (header.raw_value or header.value.encode()).decode("latin-1")
        found[header.key] = f"{found[header.key]},{value}" if header.key in found else value
    return found


def answer_to(verdict: Verdict) -> Any:
    """Return the first answer."""
    changed = pb.HeaderMutation(remove_headers=verdict.remove)
    for name, value in verdict.headers:
        option = changed.set_headers.add()
        option.header.key, option.header.raw_value = name, value.encode()
        option.append_action = 2  # OVERWRITE_IF_EXISTS_OR_ADD
    if not verdict.status:
        common = pb.CommonResponse(header_mutation=changed)
        return pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common))
    answer = pb.ImmediateResponse(headers=changed, body=verdict.body, details=LEASH_DETAILS)
    answer.status.code = verdict.status
    return pb.ProcessingResponse(immediate_response=answer)


async def serve_until_killed(path: Path) -> None:
    """Serve in a process of its own, which can be stopped."""
    await FakeLeash().listen(path)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve_until_killed(Path(sys.argv[1])))
