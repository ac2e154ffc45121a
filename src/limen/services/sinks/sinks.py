"""All sinks of a system: those that the bundle in force names, each in a task of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from limen.core.catalogue import ExportConfig
from limen.core.clock import Clock, SystemClock
from limen.core.errors import LimenError
from limen.services.sinks.pump import Pace, Pump, SecretOf, SinkStatus

FOLDER = "exports"
RESTART_S = 5.0

log = structlog.get_logger("limen.sinks")


class Sinks(Collector):
    """Runs a pump for each sink of the catalogue, and follows its changes."""

    def __init__(
        self,
        journal_root: Path,
        state_dir: Path,
        configs: Callable[[], Mapping[str, ExportConfig]],
        secret: SecretOf,
        registry: CollectorRegistry,
        *,
        clock: Clock | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            configs: the sinks wanted now; asked each `look_every_s`.
            secret: returns a stored secret. Called in a thread.
        """
        self._root, self._folder = journal_root, state_dir / FOLDER
        self._configs, self._secret = configs, secret
        self._clock, self._pace = clock or SystemClock(), pace or Pace()
        self._pumps: dict[str, Pump] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        registry.register(self)

    async def run(self) -> None:
        """Keep the sinks that are wanted running until cancelled."""
        try:
            while True:
                with contextlib.suppress(LimenError):  # no bundle in force: those that run go on
                    await self._follow(self._configs())
                await asyncio.sleep(self._pace.look_every_s)
        finally:
            for name in tuple(self._tasks):
                await self._stop(name)

    def status(self) -> list[dict[str, Any]]:
        """Return how each sink goes, by name, JSON-ready."""
        return [msgspec.to_builtins(status) for status in self._statuses()]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as of now."""
        lag = GaugeMetricFamily(
            "limen_export_lag_seconds", "Age of the oldest record that waits to be sent.", labels=["sink"]
        )
        failing = GaugeMetricFamily(
            "limen_export_failing", "1 while the last attempt failed.", labels=["sink"]
        )
        counters = {
            name: CounterMetricFamily(f"limen_export_{name}", text, labels=["sink"])
            for name, text in (
                ("sent", "Records that the collector has confirmed."),
                ("refused", "Records that it refused, set aside in the state folder."),
                ("missed", "Records that were gone before they could be sent."),
                ("failures", "Attempts that failed since this process began."),
            )
        }
        for status in self._statuses():
            lag.add_metric([status.name], status.lag_s)
            failing.add_metric([status.name], float(bool(status.error)))
            for name, counter in counters.items():
                counter.add_metric([status.name], getattr(status, name))
        return (lag, failing, *counters.values())

    def _statuses(self) -> list[SinkStatus]:
        return [self._pumps[name].status() for name in sorted(self._pumps)]

    async def _follow(self, wanted: Mapping[str, ExportConfig]) -> None:
        """Stop what is no longer wanted as it is, start what is, and again what has died."""
        for name in tuple(self._tasks):
            if wanted.get(name) != self._pumps[name].config:
                await self._stop(name)
            elif self._tasks[name].done():
                log.error("sink.died", sink=name, why=repr(self._tasks[name].exception()))
                await self._stop(name)
        for name, config in wanted.items():
            if name not in self._tasks:
                pump = Pump(
                    self._root,
                    self._folder,
                    config,
                    secret=self._secret,
                    clock=self._clock,
                    pace=self._pace,
                )
                self._pumps[name] = pump
                self._tasks[name] = asyncio.create_task(pump.run(), name=f"sink {name}")

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        self._pumps.pop(name)
        task.cancel()
        await asyncio.wait([task])
