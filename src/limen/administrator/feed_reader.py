"""The gateway's side of the feed as a pure reader: lines in, a replica that follows, instants out.

The same reader follows control's socket and replays the local file, so there is one path by which a
replica comes about.
"""

from limen.administrator.feed_wire import Bye, FromControl, Pong, Ready, Resume, Rows, Start, Tx, Unknown
from limen.administrator.projections import Projections
from limen.administrator.replica import Replica
from limen.core.errors import Invalid, Unavailable

UNANSWERED_MAX = 100  # pings that wait for their pong, or for their head; older ones are given up


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
        while len(self._sent) > UNANSWERED_MAX:
            del self._sent[next(iter(self._sent))]

    def read(self, message: FromControl | Unknown) -> None:
        """Apply one message.

        Raises:
            Invalid: it does not fit what came before (`FEED_GAP`, `FEED_BROKEN`), or is older than what
                the replica has seen of the same epoch (`FEED_BEHIND`).
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
                    self._late = [*self._late[1 - UNANSWERED_MAX :], (seq, sent_at)]
            case Start():
                self._begin(message)
            case Rows(rows):
                self._require(self._start is not None, "rows outside a snapshot")
                for version, value in rows:
                    self._rows.put(version, value)
            case Ready(seq):
                self._complete(seq)
            case Resume(epoch):
                self._require(epoch == self._replica.epoch, "another epoch")
                self.synced = True
            case Bye(reason, code, remedy):
                raise Unavailable(reason, remedy=remedy or "Look at control's log.", code=code)
            case _:
                pass  # the client's own business, or a kind of a later release

    def _begin(self, start: Start) -> None:
        """Begin a snapshot. One from before what was applied would bring ended sessions back (law F4)."""
        replica = self._replica
        if start.epoch == replica.epoch and start.seq < replica.seq:
            raise Invalid(
                f"Control offers the state at {start.seq}, and this gateway has seen {replica.seq} of it.",
                remedy="Wait until control has caught up, or restart control if its database was restored.",
                code="FEED_BEHIND",
            )
        self._start, self._rows, self.synced = start, Projections(), False

    def _complete(self, seq: int) -> None:
        start = self._start
        self._require(start is not None and start.seq == seq, "the end of a snapshot that did not begin")
        assert start is not None
        self._replica.adopt(self._rows, start.epoch, start.seq)
        self._start, self._rows, self.synced = None, Projections(), True
        self._confirm_late()

    def _confirm_late(self) -> None:
        self._late = [(head, sent) for head, sent in self._late if not self._replica.confirm(sent, head)]

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Invalid(
                f"The change feed is out of order: {what}.", remedy="Connect again.", code="FEED_BROKEN"
            )
