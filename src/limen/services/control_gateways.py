"""Control's gateways, in one place: those that follow, those that joined, and the way in over TLS.

Gateways on control's own machine need none of TLS: it is served only with `limen control --gateways`.
"""

import asyncio
import base64
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from limen.administrator.feed_wire import Report
from limen.administrator.gateway_ca import GatewayCa
from limen.administrator.gateway_desk import GatewayDesk, GatewayKeys
from limen.administrator.join_wire import parse_address
from limen.administrator.ledger import Ledger
from limen.core.catalogue import Catalogue
from limen.core.clock import Clock
from limen.core.errors import Refused
from limen.core.secret import Secret
from limen.enforcement.certificates import CertificateFolder
from limen.journal.keys import Keys
from limen.services.console_tls import TlsConsole
from limen.services.control_tls import ControlTls
from limen.services.feed import FeedServer
from limen.services.feed_ports import Following
from limen.services.feed_tls import FeedTls
from limen.services.ship_server import Shipping, ShipServer
from limen.services.state import StateDir
from limen.store import gateways
from limen.store.gateways import REMOVED, GatewayRow
from limen.store.sealing import APP_SECRETS, TOKENS

WILDCARDS = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104  # asked for by name, listened on by nobody


class ControlGateways:
    """Gateways of one control node. `listen` is `--gateways HOST:PORT`, or None."""

    def __init__(
        self,
        state: StateDir,
        feed: FeedServer,
        ledger: Ledger,
        clock: Clock,
        *,
        console: Any,
        catalogue: Callable[[], Catalogue],
        listen: str | None,
    ) -> None:
        self._feed, self._ledger, self._clock, self._state = feed, ledger, clock, state
        self._catalogue = catalogue
        self._desk: GatewayDesk | None = None
        self.ships = ShipServer(state.journal, Keys.open(state.journal), ledger, clock)
        self._servers: tuple[FeedTls | TlsConsole, ...] = ()
        if listen is not None:
            self._open(listen, console)

    def _open(self, listen: str, console: Any) -> None:
        host, port = parse_address(listen, "--gateways")
        folder = self._state.root / "ca" / "gateways"
        ca = GatewayCa(folder)
        keys = GatewayKeys(*(_base64(self._state.key(name)) for name in (TOKENS, APP_SECRETS)))
        known = socket.getfqdn() if host in WILDCARDS else host
        desk = self._desk = GatewayDesk(
            self._ledger,
            self._clock,
            ca,
            keys=keys,
            addresses=(f"[{known}]:{port}" if ":" in known else f"{known}:{port}",),
            domain=lambda: self._catalogue().domain,
        )
        tls = ControlTls(ca, folder, self._clock)
        self._servers = (
            FeedTls(
                self._feed,
                desk,
                ca,
                tls,
                self._clock,
                host=host,
                port=port,
                sign_leaf=self._sign_leaf,
                ships=self.ships,
            ),
            TlsConsole(console, tls, desk.admit, self._clock, host=host, port=port + 1),
        )

    async def start(self) -> None:
        """Serve other machines, if wanted."""
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        """Stop serving them."""
        for server in self._servers:
            await server.stop()
        await self.ships.stop()

    def jwks(self) -> list[dict[str, Any]]:
        """Return the assertion keys of joined gateways (members of a JWK set)."""
        with self._ledger.store.read() as connection:
            return gateways.gateway_jwks(connection)

    # --- the admin API's part: `limen.api.gateway_office` ------------------------------------------

    def gateways(self) -> list[dict[str, Any]]:
        """Return every gateway, by name."""
        with self._ledger.store.read() as connection:
            rows = {row.node: row for row in gateways.list_gateways(connection)}
        following: dict[str, list[Following]] = {}
        for one in self._feed.gateways:
            following.setdefault(one.node, []).append(one)
        return [
            _described(node, rows.get(node), following.get(node, []), self._feed.last_seen, self._clock.now())
            | _shipped(node in rows, self.ships.state(node), self._clock.now())
            for node in sorted({*rows, *following})
        ]

    def make_token(
        self, node: str, *, actor: str, reason: str, life_s: float, addresses: tuple[str, ...]
    ) -> Secret[str]:
        """Return a join token."""
        if self._desk is None:
            raise Refused(
                "Control does not serve gateways of other machines.",
                remedy="Start it with --gateways HOST:PORT.",
                code="GATEWAYS_OFF",
            )
        return self._desk.make_token(node, actor=actor, reason=reason, life_s=life_s, addresses=addresses)

    async def remove(self, node: str, *, actor: str, reason: str) -> None:
        """Take a gateway out, and end its connections. Works without `--gateways` too."""
        await asyncio.to_thread(self._remove, node, actor, reason)
        self._feed.disconnect(node, gateways.removed_gateway(node))
        self.ships.disconnect(node)

    async def erase(self, owner: str) -> dict[str, bool]:
        """Erase the keys of `owner` (`User::"ada"`) here and at every joined gateway; return which have.

        Those that are away do it when they come back, before control takes a record from them. Each
        control node has its own copies and keys: erase at each of them.
        """
        with self._ledger.store.read() as connection:
            rows = gateways.list_gateways(connection)
        joined = [row.node for row in rows if row.state != REMOVED]
        return await self.ships.erase(owner, joined, lambda do, args: self._feed.command(None, do, args))

    async def command(
        self, node: str | None, do: str, args: Mapping[str, Any]
    ) -> Sequence[tuple[str, Report]]:
        """Have gateways do something."""
        return await self._feed.command(node, do, args)

    def away(self) -> list[str]:
        """Return the joined gateways that do not follow this control node."""
        here = {one.node for one in self._feed.gateways}
        with self._ledger.store.read() as connection:
            rows = gateways.list_gateways(connection)
        return [row.node for row in rows if row.state != REMOVED and row.node not in here]

    def _remove(self, node: str, actor: str, reason: str) -> None:
        with self._ledger.entry(actor, reason) as entry:
            gateways.remove_gateway(entry.tx, node)
            entry.note("gateway.removed", target=node)
        self.ships.forget(node)

    def _sign_leaf(self, csr: str) -> tuple[str, str]:
        folder = CertificateFolder(self._state.root / "ca")
        return folder.sign(csr, self._catalogue(), self._clock.now())


class GatewayCollector(Collector):
    """What control knows of each gateway that follows it, or ships to it, for Prometheus."""

    def __init__(self, feed: FeedServer, ships: ShipServer | None = None) -> None:
        self._feed, self._ships = feed, ships

    def collect(self) -> Iterable[Metric]:
        """Read everything now."""
        lag = GaugeMetricFamily(
            "limen_feed_lag_changes", "Changes a gateway has yet to get.", labels=["node"]
        )
        age = GaugeMetricFamily(
            "limen_feed_age_seconds", "Age of what a gateway knows, as it says itself.", labels=["node"]
        )
        streams = GaugeMetricFamily("limen_feed_streams", "Live streams of a gateway.", labels=["node"])
        found: dict[str, list[Following]] = {}
        for one in self._feed.gateways:
            found.setdefault(one.node, []).append(one)
        for node, lines in found.items():
            lag.add_metric([node], max(one.lag for one in lines))
            age.add_metric([node], max(_age(one) for one in lines))
            streams.add_metric([node], sum(one.streams for one in lines))
        return (lag, age, streams, *self._shipped())

    def _shipped(self) -> Iterable[Metric]:
        left = GaugeMetricFamily(
            "limen_ship_left_bytes", "Bytes of journal that a gateway has yet to send.", labels=["node"]
        )
        age = GaugeMetricFamily(
            "limen_ship_age_seconds", "Since a gateway had nothing left to send.", labels=["node"]
        )
        for node in self._ships.nodes if self._ships else ():
            assert self._ships is not None
            state = self._ships.state(node)
            left.add_metric([node], state.left_bytes)
            age.add_metric([node], self._ships.age_s(node))
        return (left, age)


def _shipped(joined: bool, state: Shipping, now: float) -> dict[str, Any]:
    """Return how far a joined gateway's records are here. Those of control's own machine are here at once."""
    if not joined:
        return {"ships": "local", "ship_left_bytes": 0, "ship_age_s": 0.0}
    return {
        "ships": state.alarm or ("yes" if state.shipping else "no"),
        "ship_left_bytes": state.left_bytes,
        "ship_age_s": None if state.whole_at is None else round(max(0.0, now - state.whole_at), 3),
    }


def _described(
    node: str,
    row: GatewayRow | None,
    lines: list[Following],
    last_seen: Mapping[str, float],
    now: float,
) -> dict[str, Any]:
    """Return one gateway. While it is upgraded it follows twice, and is as far as the slower one."""
    removed = row is not None and row.state == REMOVED
    shown: dict[str, Any] = {
        "node": node,
        "state": "removed" if removed else "following" if lines else "away",
        "local": row is None,
        "release": "",
        "protocol": None,
        "position": None,
        "lag": None,
        "age_s": None,
        "streams": 0,
        "seen_at": last_seen.get(node),
        "since": None,
        "address": "",
        "certificate_expires_at": row.certificate_expires_at if row else None,
        "joined_at": row.joined_at if row else None,
        "removed_at": row.removed_at if row else None,
        "removed_why": row.removed_why if row else None,
    }
    if lines:
        slowest = max(lines, key=lambda one: one.lag)
        ages = [_age(one) for one in lines]
        shown |= {
            "release": " ".join(sorted({one.release or "?" for one in lines})),
            "protocol": min(one.protocol for one in lines),
            "position": slowest.seq,
            "lag": slowest.lag,
            "age_s": None if float("inf") in ages else round(max(ages), 3),
            "streams": sum(one.streams for one in lines),
            "seen_at": now - min(one.ping_age_s for one in lines),
            "since": min(one.since for one in lines),
            "address": slowest.address,
        }
    return shown


def _age(one: Following) -> float:
    return float("inf") if one.age_s is None else one.age_s + one.ping_age_s


def _base64(key: Secret[bytes]) -> Secret[str]:
    return Secret(base64.b64encode(key.reveal()).decode())
