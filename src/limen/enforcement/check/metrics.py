"""The check's metrics: counted in plain numbers on the hot path, told to Prometheus when it asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

BUCKETS_S = (0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5)

Gauge = tuple[str, Callable[[], float]]
"""What it says, and where the number is read."""


class Tally:
    """Counts answers by kind, and how long they took."""

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def note(self, kind: str, took_s: float) -> None:
        """Count one answer."""
        self.answers[kind] = self.answers.get(kind, 0) + 1
        self.buckets[bisect_left(BUCKETS_S, took_s)] += 1
        self.total_s += took_s


class CheckCollector(Collector):
    """Tells Prometheus what a tally counted, and the gauges of the parts around it."""

    def __init__(self, tally: Tally, gauges: Mapping[str, Gauge]) -> None:
        self._tally = tally
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand."""
        answers = CounterMetricFamily("limen_check_answers", "Answers of the check.", labels=["kind"])
        for kind, count in sorted(self._tally.answers.items()):
            answers.add_metric([kind], count)
        yield answers
        text = "Time in the check, waiting for control and explanations included."
        yield histogram("limen_check_seconds", text, BUCKETS_S, self._tally.buckets, self._tally.total_s)
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())


def histogram(
    name: str, text: str, edges: Sequence[float], counts: Sequence[int], total_s: float
) -> HistogramMetricFamily:
    """Return a histogram. `counts` has one number per bucket, not cumulated, and one beyond the last edge."""
    cumulated, count = [], 0
    for edge, in_bucket in zip((*edges, "+Inf"), counts, strict=True):
        count += in_bucket
        cumulated.append((str(edge), count))
    return HistogramMetricFamily(name, text, buckets=cumulated, sum_value=total_s)
