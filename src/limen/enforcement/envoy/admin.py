"""Envoy's administration, on its Unix socket: is it ready, what did it take, what did it refuse."""

import contextlib
import re
from pathlib import Path

import httpx
import msgspec

from limen.core.errors import Unavailable

TIMEOUT_S = 2.0
_SUBSCRIPTIONS = (
    r"(\.lds|\.cds|http\.apps\.rds\.apps|sds\.certificate|sds\.machines|cluster\.check|cluster\.leash)"
    r"\.(version_text|update_rejected)$"
)
_NUMBER = re.compile(r"\d+\Z")


class Subscription(msgspec.Struct, frozen=True):
    """What Envoy says about one watched file."""

    version: str = ""
    rejected: int = 0


STATS = {
    "lds": "listener_manager.lds",
    "cds": "cluster_manager.cds",
    "rds": "http.apps.rds.apps",
    "sds": "sds.certificate",
    "sds_machines": "sds.machines",
    "eds_check": "cluster.check",
    "eds_leash": "cluster.leash",
}
"""Under which name Envoy counts each file."""


class EnvoyAdmin:
    """A client of the admin socket. Every call raises `Unavailable` when nobody answers."""

    def __init__(self, socket: Path) -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=TIMEOUT_S)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def ready(self) -> bool:
        """Return whether Envoy has all of its configuration and listens. One that has just ended does not."""
        with contextlib.suppress(Unavailable):
            return await self._live() and await self._listeners() > 0
        return False

    async def deaf(self) -> bool:
        """Return whether Envoy runs and will never listen: it could not bind, and does not try again."""
        return await self._live() and await self._listeners() == 0

    async def _live(self) -> bool:
        try:
            return (await self._ask("GET", "/ready")).status_code == 200
        except Unavailable:
            return False

    async def _listeners(self) -> int:
        stats = await self.stats(r"^listener_manager\.total_listeners_active$")
        return sum(int(value) for value in stats.values())

    async def subscriptions(self) -> dict[str, Subscription]:
        """Return what Envoy says about each watched file."""
        stats = await self.stats(_SUBSCRIPTIONS)
        found = {}
        for kind, name in STATS.items():
            version, rejected = (
                stats.get(f"{name}.version_text", ""),
                stats.get(f"{name}.update_rejected", "0"),
            )
            found[kind] = Subscription(version, int(rejected))
        return found

    async def active_requests(self) -> int:
        """Return how many requests are on their way."""
        stats = await self.stats(r"^http\.(machines_)?(apps|auth)\.downstream_rq_active$")
        return sum(int(value) for value in stats.values() if _NUMBER.match(value))

    async def stats(self, pattern: str) -> dict[str, str]:
        """Return the statistics whose names match."""
        answer = await self._ask("GET", "/stats", {"filter": pattern})
        lines = (line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)
        return {name: value.strip('"') for name, value in lines}

    async def drain(self) -> None:
        """Take no new connections, and ask open ones to go."""
        await self._ask("POST", "/drain_listeners", {"graceful": ""})

    async def _ask(self, method: str, path: str, query: dict[str, str] | None = None) -> httpx.Response:
        try:
            return await self._client.request(method, path, params=query)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Envoy's administration does not answer ({type(error).__name__}).",
                remedy="See the gateway's log for what Envoy said last.",
                code="ENVOY_UNAVAILABLE",
            ) from None
