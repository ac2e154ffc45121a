"""A collector in strange hands answers so as to fill control's memory, or to hold its sink for ever."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
from sink_rig import decision

from limen.journal.export.formats import ENCODERS
from limen.journal.export.rows import Joiner, Wanted
from limen.journal.follow import Stored
from limen.services.sinks import https
from limen.services.sinks.https import ANSWER_MAX_BYTES, HttpsSender
from limen.services.sinks.otlp import OtlpSender
from limen.services.sinks.ports import Away, Message, NotTaken

PIECE = gzip.compress(bytes(1 << 22))  # 4 kB that would become 4 MB


class Endless(httpx.AsyncByteStream):
    """A body without end; `after_s` passes between its pieces."""

    def __init__(self, after_s: float = 0.0) -> None:
        self.sent, self._after_s = 0, after_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(self._after_s)
            self.sent += len(PIECE)
            yield PIECE


def messages() -> list[Message]:
    rows = Joiner(Wanted()).rows([Stored("edge-a", "00000001-00000000", 0, decision(1_800_000_000.0))])
    return [Message(row, ENCODERS["jsonl"](row)) for row in rows]


def send(kind: type[HttpsSender], status: int, body: Endless) -> None:
    async def story() -> None:
        sender = kind("https://siem.test/in", ssl.create_default_context())
        await sender._client.aclose()
        answer = httpx.Response(status, headers={"Content-Encoding": "gzip"}, stream=body)
        sender._client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))
        try:
            await sender.send(messages())
        finally:
            await sender.close()

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize("kind", [HttpsSender, OtlpSender])
def test_an_answer_without_end_is_read_to_a_bound_and_never_unpacked(kind: type[HttpsSender]) -> None:
    body = Endless()
    send(kind, 200, body)
    assert body.sent <= ANSWER_MAX_BYTES + len(PIECE)
    with pytest.raises(NotTaken):
        send(kind, 422, Endless())
    with pytest.raises(Away):
        send(kind, 500, Endless())


def test_an_answer_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "ANSWER_MAX_S", 0.1)
    with pytest.raises(Away, match="end of its answer"):
        send(HttpsSender, 200, Endless(after_s=0.05))


@pytest.mark.parametrize("rejected", ['"2"', "2"])
def test_a_success_that_is_partial_is_none(rejected: str) -> None:
    answer = httpx.Response(200, content=f'{{"partialSuccess": {{"rejectedLogRecords": {rejected}}}}}')
    with pytest.raises(NotTaken, match="2 of the records"):
        OtlpSender("https://collector.example", ssl.create_default_context()).check(answer)
