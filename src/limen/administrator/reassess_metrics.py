"""The reassessor's metrics: plain numbers on the way, told to Prometheus when it asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from limen.administrator.streams import Cause, Streams

BUCKETS_S = (0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class ReassessTally:
    """What re-assessment has come to.

    Attributes:
        kept: streams that stayed open after a change, a deadline or a look at the age.
        ended: streams that the reassessor ended, by cause.
        unrecorded: ends whose decision the journal did not take.
        buckets, total_s: from the applying of a change to the close of each stream that it ended.
        longest_s: the longest slice of work.
    """

    def __init__(self) -> None:
        self.kept = 0
        self.ended: Counter[Cause] = Counter()
        self.unrecorded = 0
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0
        self.longest_s = 0.0

    def note_closed(self, took_s: float) -> None:
        """Count a stream that a change has closed, and how long after it was applied."""
        self.buckets[bisect_left(BUCKETS_S, took_s)] += 1
        self.total_s += took_s


class ReassessCollector(Collector):
    """Tells Prometheus of live streams and their re-assessment."""

    def __init__(self, tally: ReassessTally, streams: Streams) -> None:
        self._tally = tally
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand."""
        tally = self._tally
        yield GaugeMetricFamily("limen_streams_live", "Live streams.", value=len(self._streams))
        yield CounterMetricFamily("limen_streams_kept", "Streams decided again and kept.", value=tally.kept)
        ended = CounterMetricFamily(
            "limen_streams_ended", "Streams ended by re-assessment.", labels=["cause"]
        )
        for cause, count in sorted(tally.ended.items()):
            ended.add_metric([cause.value], count)
        yield ended
        yield CounterMetricFamily(
            "limen_streams_unrecorded", "Ends whose decision was not recorded.", value=tally.unrecorded
        )
        yield GaugeMetricFamily(
            "limen_reassess_longest_slice_seconds", "Longest slice of work.", value=tally.longest_s
        )
        yield self._latency()

    def _latency(self) -> Metric:
        cumulated, count = [], 0
        for edge, in_bucket in zip((*BUCKETS_S, "+Inf"), self._tally.buckets, strict=True):
            count += in_bucket
            cumulated.append((str(edge), count))
        text = "From the applying of a change to the close of each stream that it ended."
        return HistogramMetricFamily(
            "limen_stream_close_seconds", text, buckets=cumulated, sum_value=self._tally.total_s
        )
