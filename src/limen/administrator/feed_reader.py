"""The gateway's side of the feed as a pure reader: lines in, a replica that follows, instants out.

The same reader follows control's socket and replays the local file, so there is one path by which a
replica comes about.
"""

from limen.administrator.feed_wire import Answer, Bye, FromControl, Pong, Ready, Resume, Rows, Start, Tx
from limen.administrator.projections import Projections
from limen.administrator.replica import Replica
from limen.core.errors import Invalid, Unavailable


class FeedReader:
    """Applies what control says to a replica.

    Attributes:
        synced: this connection has brought the replica to a known place.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._start: Start | None = None
        self._rows = Projections()
        self._sent: dict[int, float] = {}  # ping -> boot instant of its sending
        self._late: list[tuple[int, float]] = []  # heads answered that the replica has yet to reach
        self.synced = False

    def note_ping(self, n: int, sent_at: float) -> None:
        """Remember when ping `n` was sent. Call it before the bytes leave (law F3)."""
        self._sent[n] = sent_at

    def read(self, message: FromControl) -> None:
        """Apply one message.

        Raises:
            Invalid: it does not fit what came before (`FEED_GAP`, `FEED_BROKEN`).
            Unavailable: control refuses this gateway.
        """
        match message:
            case Tx(changes):
                self._require(self.synced and bool(changes), "a transaction before the snapshot")
                self._replica.apply(changes)
                self._confirm_late()
            case Pong(n, seq):
                sent_at = self._sent.pop(n, None)
                if self.synced and sent_at is not None and not self._replica.confirm(sent_at, seq):
                    self._late.append((seq, sent_at))
            case Start():
                self._start, self._rows, self.synced = message, Projections(), False
            case Rows(rows):
                self._require(self._start is not None, "rows outside a snapshot")
                for version, value in rows:
                    self._rows.put(version, value)
            case Ready(seq):
                self._complete(seq)
            case Resume(epoch):
                self._require(epoch == self._replica.epoch, "another epoch")
                self.synced = True
            case Answer():
                pass  # the client's own business: by now the replica has what was asked for
            case Bye(reason):
                raise Unavailable(reason, remedy="Look at control's log.", code="FEED_REFUSED")

    def _complete(self, seq: int) -> None:
        start = self._start
        self._require(start is not None and start.seq == seq, "the end of a snapshot that did not begin")
        assert start is not None
        self._replica.adopt(self._rows, start.epoch, start.seq)
        self._start, self._rows, self.synced = None, Projections(), True

    def _confirm_late(self) -> None:
        self._late = [(head, sent) for head, sent in self._late if not self._replica.confirm(sent, head)]

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Invalid(
                f"The change feed is out of order: {what}.", remedy="Connect again.", code="FEED_BROKEN"
            )
