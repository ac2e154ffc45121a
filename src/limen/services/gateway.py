"""A gateway's brain: decides, holds live streams, configures the Envoy that its host runs.

`limen gateway --brain a|b`, started by `limen.services.gateway_host`. Two live side by side while a
gateway is upgraded: the new one takes over Envoy's files and all new requests, the old one keeps its
live streams, goes on following control, and ends them when their reason ends.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Coroutine

import msgspec
import structlog
import uvloop

from limen import __version__
from limen.administrator.replica import Touched
from limen.core.errors import LimenError
from limen.core.ids import Instant
from limen.enforcement.check.metrics import Gauge
from limen.enforcement.envoy.access_log import StreamBytes, parse_line
from limen.enforcement.envoy.supervise import State
from limen.services.gateway_envoy import make_envoy, renew_while
from limen.services.gateway_health import GatewayHealth
from limen.services.gateway_identity import Renewal, find_seat
from limen.services.gateway_link import HostLink, read_input
from limen.services.gateway_options import GatewayOptions
from limen.services.gateway_parts import Deciding
from limen.services.gateway_words import (
    BEAT_EVERY_S,
    METRICS_VARIABLE,
    Activate,
    Alone,
    Beat,
    Drained,
    Order,
    Refused,
    Retire,
    Serving,
    Standing,
    Stop,
    Yield,
    Yielded,
)
from limen.services.logs import configure_logs
from limen.services.serving import new_registry
from limen.services.state import StateDir

GC_THRESHOLD = 20_000  # objects of a request die by themselves; looking for cycles each 700 is dear
LINGER_S = 6.0  # a retired brain still answers what was asked before: longer than a check may take
LAST_WORDS_S = 1.0  # until Envoy has told how the last stream ended (`process.LOG_FLUSH_MS`)
LOOK_S = 0.1  # between two looks at whether the last stream has ended
AGAIN_S = 5.0  # after Envoy could not be taken up

log = structlog.get_logger("limen.gateway")


def run_brain(options: GatewayOptions, slot: str) -> None:
    """Run until the host stops this brain or is gone, or until the last stream of a retired one has ended."""
    configure_logs(process=f"gateway-{slot}")
    link = HostLink.inherited()
    metrics = os.environ.pop(METRICS_VARIABLE, None)
    state = StateDir.create(options.state)
    gateway = Gateway(state, options, slot, link, socket.socket(fileno=int(metrics)) if metrics else None)
    uvloop.run(gateway.live())


class Gateway:
    """One brain. `registry` holds its metrics."""

    def __init__(
        self,
        state: StateDir,
        options: GatewayOptions,
        slot: str,
        host: HostLink,
        metrics: socket.socket | None,
    ) -> None:
        self.registry = new_registry()
        self._options = options
        self._host = host
        seat = find_seat(state, node=options.node)
        self._deciding = Deciding(state, seat, slot)
        self._envoy = make_envoy(
            state,
            options,
            slot,
            seat=seat,
            feed=self._deciding.feed,
            clock=self._deciding.clock,
            runner=host,
        )
        self._renewal = (
            Renewal(seat.identity, self._deciding.feed, self._deciding.clock) if seat.identity else None
        )
        self._health = GatewayHealth(
            state.socket("gateway"),
            metrics,
            ready=self._ready,
            describe=self._describe,
            registry=self.registry,
        )
        self._configuring = asyncio.Event()
        self._over = asyncio.Event()
        self._input_ended = asyncio.Event()
        self._on_duty = False  # Envoy's files are ours
        self._asked = False  # the host waits for our word
        self._yielding = False
        self._serving = False
        self._standing = False
        self._since: Instant = 0.0
        self._until: Instant = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        """Run this brain's whole life."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._over.set)
        try:
            await self._start()
            await self._over.wait()
        finally:
            await self._stop()

    async def _start(self) -> None:
        for work in (self._obey(), self._beat(), self._listen()):
            self._later(work)
        deciding = self._deciding
        deciding.register(self.registry, self._gauges())
        deciding.replica.subscribe(self._notice)
        await deciding.start()
        self._configuring.set()
        self._later(self._configure())
        if self._renewal is not None:
            self._later(renew_while(lambda: self._on_duty, self._renewal))

    async def _stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._envoy.close()
        await self._health.hide()
        await self._deciding.close()

    # --- the host ----------------------------------------------------------------------------------

    async def _obey(self) -> None:
        await self._host.obey(self._take)
        self._over.set()  # the host is gone

    def _take(self, order: Order) -> None:
        match order:
            case Activate():
                self._since, self._until = order.since, float("inf")
                self._on_duty = self._asked = True
                self._configuring.set()
            case Yield():
                self._until, self._on_duty, self._yielding = order.until, False, True
                self._configuring.set()
            case Retire():
                self._later(self._retire(order.deadline_s))
            case Alone():
                self._since = 0.0
            case Stop():
                self._later(self._drain(order.drain_s))

    async def _beat(self) -> None:
        while True:
            self._host.tell(Beat(len(self._deciding.streams), self._deciding.confirmed))
            await asyncio.sleep(BEAT_EVERY_S)

    async def _retire(self, deadline_s: float) -> None:
        """Keep what lives until it ends, or until the deadline; then be over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_s
        await self._health.hide()
        await asyncio.sleep(min(LINGER_S, deadline_s))
        await self._streams_end(deadline)
        self._deciding.end_streams()
        await asyncio.sleep(LAST_WORDS_S)
        self._over.set()

    async def _drain(self, drain_s: float) -> None:
        """Let live streams go on for `drain_s`, and plain requests finish."""
        loop = asyncio.get_running_loop()
        self._deciding.refuse_streams()
        await self._streams_end(loop.time() + drain_s)
        self._deciding.end_streams()
        if self._on_duty:
            await self._envoy.drain()
        self._host.tell(Drained())
        await self._input_ended.wait()
        self._over.set()

    async def _streams_end(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        # The registry is the administrator's, and sets no event.
        while len(self._deciding.streams) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    # --- Envoy -------------------------------------------------------------------------------------

    def _notice(self, touched: Touched) -> None:
        if "bundle" in touched.kinds:
            self._configuring.set()

    async def _configure(self) -> None:
        """Stand once there is a bundle; while on duty, bring each later one into force."""
        while True:
            await self._configuring.wait()
            self._configuring.clear()
            if self._yielding:
                await self._yield()
            active = self._deciding.replica.active
            if active is None:
                continue
            if not self._standing:
                self._standing = True
                self._host.tell(Standing(__version__))
            if not self._on_duty:
                continue
            try:
                if self._serving:
                    await self._envoy.apply(active.catalogue)
                else:
                    await self._take_up()
                if self._asked:
                    self._asked = False
                    self._host.tell(Serving())
            except LimenError as error:
                log.error("gateway.not_configured", why=error.message, remedy=error.remedy)
                self._host.tell(Refused(error.message))
                if not self._serving:
                    asyncio.get_running_loop().call_later(AGAIN_S, self._configuring.set)

    async def _yield(self) -> None:
        """Leave Envoy's files to another brain, and answer what still comes.

        Health, too, is answered until the next brain does, which takes the path.
        """
        self._yielding = self._serving = False
        await self._envoy.rest()
        self._host.tell(Yielded())

    async def _take_up(self) -> None:
        """Make Envoy ask this brain, whether or not it runs already."""
        active = self._deciding.replica.active
        assert active is not None
        if self._host.running:
            await self._envoy.take_over(active.catalogue)
            await self._health.hide()  # another brain may have taken the path since
            await self._health.show()
        else:
            await self._health.show()
            await self._envoy.start(active.catalogue)
            await self._envoy.wait_ready()
        self._serving = True
        self._settle()

    def _settle(self) -> None:
        """Once it serves: what is there stays, so the collector need not look at it; explanations come."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        self._deciding.explainer.warm()

    async def _listen(self) -> None:
        """Read what Envoy says of requests, until the host says that no more comes."""
        await read_input(self._take_lines)
        self._input_ended.set()

    def _take_lines(self, lines: bytes) -> None:
        for told in map(parse_line, lines.splitlines()):
            if isinstance(told, StreamBytes):
                self._deciding.take_bytes(told)
            elif told is not None and self._since <= told.at < self._until:  # else the other brain's
                self._deciding.take_outcome(told)

    # --- health ------------------------------------------------------------------------------------

    def _ready(self) -> bool:
        deciding = self._deciding
        return (
            deciding.replica.active is not None
            and deciding.confirmed
            and self._envoy.status().state is State.READY
        )

    def _describe(self) -> dict[str, object]:
        return dict(msgspec.to_builtins(self._envoy.status()))

    def _gauges(self) -> dict[str, Gauge]:
        return {
            "limen_gateway_envoy_restarts": (
                "Times that Envoy was started again.",
                lambda: float(self._envoy.status().restarts),
            ),
            "limen_gateway_outcomes_lost": (
                "Lines of Envoy's output that came faster than they could be read.",
                lambda: float(self._host.lost_lines),
            ),
        }

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("gateway.failed", exc_info=task.exception())
            self._over.set()  # a brain with a part missing ends, and is started again whole
