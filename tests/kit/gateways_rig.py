"""One control that serves gateways of other machines over TLS, gateways that join it, and a bad network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from limen.administrator.active import ActiveBundle
from limen.administrator.feed_client import Dial, FeedClient, Work
from limen.administrator.feed_lines import Connection
from limen.administrator.gateway_ca import GatewayCa
from limen.administrator.gateway_desk import GatewayDesk, GatewayKeys
from limen.administrator.join_wire import JoinToken, parse_token
from limen.administrator.ledger import Ledger
from limen.administrator.replica import Replica
from limen.administrator.replica_file import ReplicaFile
from limen.core.catalogue import AppConfig, Catalogue
from limen.core.changes import BundleFact, PersonFact
from limen.core.clock import FakeClock, SystemClock
from limen.core.record import EventRecord
from limen.core.secret import Secret
from limen.enforcement.certificates import CertificateFolder
from limen.journal.keys import Keys
from limen.services.console_tls import TlsConsole
from limen.services.control_tls import ControlTls
from limen.services.feed import FeedServer
from limen.services.feed_tls import FeedTls
from limen.services.gateway_identity import IdentityFolder, dial_tls
from limen.services.join import join_gateway
from limen.services.ship import Shipper
from limen.services.ship_server import ShipServer
from limen.store import gateways
from limen.store.database import Store

WAIT_S = 20.0
CATALOGUE = Catalogue(
    domain="limen.test",
    apps={"wiki": AppConfig("wiki", "wiki.limen.test", ("http://127.0.0.1:1",))},
)


def load(fact: BundleFact) -> ActiveBundle:
    return ActiveBundle(fact.bundle_id, CATALOGUE, object(), {})  # type: ignore[arg-type]


class SteadyClock(FakeClock):
    """A clock that starts now, as TLS looks at the real one, and moves by hand."""

    def __init__(self) -> None:
        super().__init__(SystemClock().now())


class Rig:
    """Control, with everything that gateways of other machines reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SteadyClock()
        self.store = Store.open(folder / "limen.db", self.clock)
        self.events: list[EventRecord] = []
        self.ledger = Ledger(self.store, self.events.append)
        self.ca = GatewayCa(folder / "ca" / "gateways")
        self.desk = GatewayDesk(
            self.ledger,
            self.clock,
            self.ca,
            keys=GatewayKeys(Secret("dG9rZW4="), Secret("YXBw")),
            addresses=(),
            domain=lambda: "limen.test",
        )
        self.tls = ControlTls(self.ca, folder / "ca" / "gateways", self.clock)
        self.asked: list[str] = []
        (folder / "journal").mkdir(exist_ok=True)
        self.ships = ShipServer(folder / "journal", Keys.open(folder / "journal"), self.ledger, self.clock)

    async def start(self, port: int = 0) -> None:
        self.feed = FeedServer(self.store, self.folder / "feed.sock", clock=self.clock)
        await self.feed.start()
        self.server = FeedTls(
            self.feed,
            self.desk,
            self.ca,
            self.tls,
            self.clock,
            host="127.0.0.1",
            port=port,
            sign_leaf=lambda csr: CertificateFolder(self.folder / "ca").sign(
                csr, CATALOGUE, self.clock.now()
            ),
            ships=self.ships,
        )
        await self.server.start()
        self.console = TlsConsole(self._app, self.tls, self.desk.admit, self.clock, host="127.0.0.1", port=0)
        await self.console.start()

    async def stop(self) -> None:
        await self.console.stop()
        await self.server.stop()
        await self.ships.stop()
        await self.feed.close()

    async def _app(self, scope: dict, receive: object, send: Callable[..., Awaitable[None]]) -> None:  # type: ignore[type-arg]
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def add(self, *names: str) -> None:
        with self.store.transaction("test", "test") as tx:
            for name in names:
                tx.change("person", name, PersonFact(id=name, name=name, email=""))

    def token(self, node: str = "gw1", life_s: float = 3600.0) -> JoinToken:
        made = self.desk.make_token(
            node, actor="test", reason="test", life_s=life_s, addresses=(self.address,)
        )
        return parse_token(made.reveal())

    async def join(self, node: str = "gw1", *, where: str | None = None) -> "Site":
        root = self.folder / (where or node)
        await asyncio.to_thread(join_gateway, self.token(node), root)
        return Site(self, root, node)

    def remove(self, node: str) -> None:
        with self.ledger.entry("test", "lost") as entry:
            gateways.remove_gateway(entry.tx, node)
        self.feed.disconnect(node, gateways.removed_gateway(node))
        self.ships.disconnect(node)


class Site:
    """One joined gateway's machine."""

    def __init__(self, rig: Rig, root: Path, node: str) -> None:
        self.rig, self.root, self.node = rig, root, node
        self.folder = IdentityFolder(root)

    def dial(self, port: int | None = None) -> Dial:
        return dial_tls((("127.0.0.1", port or self.rig.server.port),), self.folder)

    @asynccontextmanager
    async def gateway(
        self,
        *,
        dial: Dial | None = None,
        node: str | None = None,
        file: ReplicaFile | None = None,
        commands: dict[str, Work] | None = None,
    ) -> AsyncIterator[tuple[FeedClient, Replica]]:
        replica = Replica(load)
        client = FeedClient(
            dial or self.dial(),
            replica,
            self.rig.clock,
            node=node or self.node,
            file=file,
            commands=commands,
            protocol_oldest=2,
        )
        task = asyncio.create_task(client.run())
        try:
            yield client, replica
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def shipper(self, dial: Dial | None = None, journals: Path | None = None) -> Shipper:
        """Return what ships the journals of this machine."""
        folder = journals or self.root / "journal"
        return Shipper(dial or self.dial(), folder, self.node, Keys.open(folder), self.rig.clock)

    @asynccontextmanager
    async def shipping(self, dial: Dial | None = None) -> AsyncIterator[Shipper]:
        shipper = self.shipper(dial)
        task = asyncio.create_task(shipper.run())
        try:
            yield shipper
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class FaultyNetwork:
    """A TCP proxy in the way of `target`, which loses, delays and breaks what passes.

    Attributes:
        to_control, to_gateway: whether bytes of that direction arrive; those that do not wait for ever.
        delay_s: how long bytes take, each way.
        open: connections that stand.
    """

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.to_control = self.to_gateway = True
        self.delay_s = 0.0
        self.accepted = 0

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def dial(self, port: int) -> Dial:
        async def dial() -> Connection:
            return Connection(*await asyncio.open_connection("127.0.0.1", port))

        return dial

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """End every connection by RST, both ways."""
        for writer in tuple(self._writers):
            plain = writer.get_extra_info("socket")
            with suppress(OSError):
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

    def heal(self) -> None:
        """Let everything pass again. What was lost stays lost, so old connections are of no use."""
        self.to_control = self.to_gateway = True
        self.delay_s = 0.0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if isinstance(self._target, int):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        else:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._pass(reader, far_writer, lambda: self.to_control),
                self._pass(far_reader, writer, lambda: self.to_gateway),
            )
        except OSError:
            pass
        finally:
            self._writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        lost = False
        while data := await reader.read(65536):
            lost = lost or not passes()
            if lost:
                continue  # as on a cut wire: neither end is told
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()
        if lost:
            await asyncio.Event().wait()
        raise ConnectionResetError


def drive(folder: Path, story: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a story against a fresh control, and stop everything after it."""

    async def run() -> None:
        rig = Rig(folder)
        await rig.start()
        try:
            await asyncio.wait_for(story(rig), WAIT_S)
        finally:
            await rig.stop()
            rig.store.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; `drive` bounds it."""
    while not holds():  # noqa: ASYNC110  # several threads may bring it about
        await asyncio.sleep(0.005)


def names(replica: Replica) -> set[str]:
    return {person.id for person in replica.people()}
