"""How an organisation elsewhere is spoken to: bounded in time, size and number, never redirected."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from limen.core.errors import Unavailable
from limen.information.identity import provider_http
from limen.information.identity.provider_http import CALLS_MAX, DOCUMENT_MAX_BYTES, ProviderHttp

URL = "https://idp.example/doc"


class _Stream(httpx.SyncByteStream):
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts


class _Transport(httpx.BaseTransport):
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        found = self.answer(request) if callable(self.answer) else self.answer
        assert isinstance(found, httpx.Response)
        return found


def _http(answer: object) -> ProviderHttp:
    return ProviderHttp("corp", None, _Transport(answer))


def _endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 100_000


def test_a_document_is_read() -> None:
    assert _http(httpx.Response(200, json={"a": 1})).get_json(URL) == {"a": 1}


def test_what_is_endless_packed_redirected_or_no_object_is_no_answer() -> None:
    seen: list[int] = []

    def counted() -> Iterator[bytes]:
        for part in _endless():
            seen.append(len(part))
            yield part

    for answer in (
        httpx.Response(200, stream=_Stream(counted())),
        httpx.Response(200, stream=_Stream(iter([b"x"])), headers={"content-encoding": "br"}),
        httpx.Response(302, headers={"location": "https://evil.example"}),
        httpx.Response(200, content=b"[1]"),
        httpx.Response(200, content=b"[" * 1_000_000),
        httpx.Response(200, content=b"\xff"),
    ):
        with pytest.raises(Unavailable):
            _http(answer).get_json(URL)
    assert sum(seen) <= DOCUMENT_MAX_BYTES + 200_000


def test_an_answer_that_drips_for_ever_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(provider_http.time, "monotonic", lambda: now[0])

    def drip() -> Iterator[bytes]:
        for _ in range(100):
            now[0] += 1.0
            yield b"x"

    with pytest.raises(Unavailable):
        _http(httpx.Response(200, stream=_Stream(drip()))).get(URL)
    assert now[0] < 30.0


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/",
        "ftp://idp.example/",
        "idp.example",
        "http://localhost.evil.example/",
        "file:///x",
    ],
)
def test_only_tls_and_this_machine_are_spoken_to(url: str) -> None:
    with pytest.raises(Unavailable):
        _http(httpx.Response(200, json={})).get_json(url)


def test_a_slow_provider_takes_a_few_threads_and_no_more() -> None:
    go = threading.Event()
    inside = threading.Semaphore(0)

    def slow(_: httpx.Request) -> httpx.Response:
        inside.release()
        assert go.wait(20)
        return httpx.Response(200, json={})

    http = _http(slow)
    threads = [threading.Thread(target=lambda: http.get_json(URL)) for _ in range(CALLS_MAX)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        http.get_json(URL)
    assert time.monotonic() - begun < 5.0, "refused, not queued"
    go.set()
    for thread in threads:
        thread.join()
    assert http.get_json(URL) == {}, "places are given back"


def test_places_are_given_back_whatever_happens() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    for answer in (broken, httpx.Response(500), httpx.Response(200, headers={"content-encoding": "gzip"})):
        http = _http(answer)
        for _ in range(3 * CALLS_MAX):
            with pytest.raises(Unavailable):
                http.get(URL)
        http._transport = _Transport(httpx.Response(200, json={}))
        assert http.get_json(URL) == {}
