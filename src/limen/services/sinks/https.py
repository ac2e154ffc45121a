"""Batches over HTTPS: JSON lines, or an array of OCSF events, by POST."""

import asyncio
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.services.sinks.ports import Away, Message, NotTaken

TIMEOUT_S = 15.0
ANSWER_MAX_S = 60.0  # from the first byte sent to the last that is read
ANSWER_MAX_BYTES = 64 * 1024
AFTER_MAX_S = 300.0
CONTENT_REFUSED = frozenset({400, 413, 415, 422})
"""Answers that are about what was sent; others are about who, where and when, and are tried again."""

_TOKEN = re.compile(r"[!-~]+")
_NOT_KEY = re.compile(r"[^A-Za-z0-9._/-]+")


class HttpsSender:
    """Posts batches. Subclasses say how a batch is written and whether the answer is a yes."""

    content_type = "application/x-ndjson"

    def __init__(
        self, url: str, context: ssl.SSLContext, token: Secret[str] | None = None, *, as_array: bool = False
    ) -> None:
        self._url = url
        self._as_array = as_array
        if as_array:
            self.content_type = "application/json"
        self._headers = {} if token is None else {"Authorization": bearer(token)}
        self._client = httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, follow_redirects=False)

    async def send(self, messages: Sequence[Message]) -> None:
        """Post one batch."""
        headers = {
            "Content-Type": self.content_type,
            "Idempotency-Key": idempotency_key(messages),
            "Accept-Encoding": "identity",
            **self._headers,
        }
        host = httpx.URL(self._url).host
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                answer = await self._post(self.render(messages), headers)
        except TimeoutError as error:
            raise Away(f"{host} does not come to the end of its answer.") from error
        except httpx.HTTPError as error:
            raise Away(f"{host}: {error or type(error).__name__}") from error
        if answer.status_code in CONTENT_REFUSED:
            raise NotTaken(f"{host} refuses the content: {answer.status_code}.")
        if not answer.is_success:
            raise Away(f"{host} answers {answer.status_code}.", after_s=_after_s(answer))
        self.check(answer)

    async def _post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        """Return the answer with the beginning of its body, not unpacked: who sent it may be anybody."""
        async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
            begun = b""
            async for part in answer.aiter_raw():
                begun += part
                if len(begun) > ANSWER_MAX_BYTES:
                    break
            return httpx.Response(
                answer.status_code,
                headers={"Retry-After": answer.headers.get("Retry-After", "")},
                content=begun,
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def render(self, messages: Sequence[Message]) -> bytes:
        """Return the body of a batch."""
        if self._as_array:
            return b"[" + b",\n".join(message.body for message in messages) + b"]"
        return b"".join(message.body + b"\n" for message in messages)

    def check(self, answer: httpx.Response) -> None:
        """Look into an answer that says success. Raises NotTaken."""


def bearer(token: Secret[str]) -> str:
    """Return the header's value.

    Raises:
        Invalid: the secret holds what would end the header, or what no header carries.
    """
    if not _TOKEN.fullmatch(token.reveal()):
        raise Invalid(
            "The sink's secret is no bearer token: it holds a space, a line break or other than ASCII.",
            remedy="Store it again with `limen secret set`.",
        )
    return f"Bearer {token.reveal()}"


def idempotency_key(messages: Sequence[Message]) -> str:
    """Return the first and the last place of a batch, as a structured string of printable ASCII."""
    first, last = messages[0].row, messages[-1].row
    plain = _NOT_KEY.sub("_", f"{first.uid}-{last.position}")
    return f'"{plain}"'


def _after_s(answer: httpx.Response) -> float:
    """Return what `Retry-After` asks for (RFC 9110 §10.2.3), bounded."""
    text = answer.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), AFTER_MAX_S)
    try:
        wanted = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wanted, 0.0), AFTER_MAX_S)
