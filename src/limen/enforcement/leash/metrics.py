"""The leash's metrics: counted in plain numbers, told to Prometheus when it asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from limen.administrator.streams import Cause
from limen.enforcement.check.metrics import histogram

CLOSE_BUCKETS_S = (0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class LeashTally:
    """Counts streams opened and ended, and how long ending one took."""

    def __init__(self) -> None:
        self.opened: dict[str, int] = {}
        self.ended: dict[Cause, int] = dict.fromkeys(Cause, 0)
        self.buckets = [0] * (len(CLOSE_BUCKETS_S) + 1)
        self.total_s = 0.0

    def note_opened(self, protocol: str) -> None:
        """Count a stream that was let through."""
        self.opened[protocol] = self.opened.get(protocol, 0) + 1

    def note_ended(self, cause: Cause) -> None:
        """Count a stream that is no more."""
        self.ended[cause] += 1

    def note_closed(self, took_s: float) -> None:
        """Count how long it took from the order to end a stream until Envoy was told."""
        self.buckets[bisect_left(CLOSE_BUCKETS_S, took_s)] += 1
        self.total_s += took_s


class LeashCollector(Collector):
    """Tells Prometheus what a tally counted. `live` says how many streams are held."""

    def __init__(self, tally: LeashTally, live: Callable[[], int]) -> None:
        self._tally = tally
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand."""
        yield GaugeMetricFamily("limen_leash_streams", "Live streams held.", value=self._live())
        opened = CounterMetricFamily("limen_leash_opened", "Streams let through.", labels=["protocol"])
        for protocol, count in sorted(self._tally.opened.items()):
            opened.add_metric([protocol], count)
        yield opened
        ended = CounterMetricFamily("limen_leash_ended", "Streams that ended.", labels=["cause"])
        for cause, count in self._tally.ended.items():
            ended.add_metric([cause.value], count)
        yield ended
        text = "From the order to end a stream until Envoy was told."
        tally = self._tally
        yield histogram("limen_leash_close_seconds", text, CLOSE_BUCKETS_S, tally.buckets, tally.total_s)
