"""What the followers of one store have heard: every committed transaction, whole, in order, once.

Law: P1 in step. A follower hears the changes that follow the position it was brought to, each once and
in order, whichever thread found them; or it is restarted with a snapshot, and hears what follows that.
"""

import threading
from collections.abc import Callable

import structlog

from limen.core.changes import Change, Snapshot
from limen.store.life import Known, prove
from limen.store.mark import Mark

Subscriber = Callable[[tuple[Change, ...]], None]
Restart = Callable[[Snapshot], None]

_log = structlog.get_logger(__name__)


class _Follower:
    """One that hears. `lost` after it failed: it needs a snapshot before it can hear again."""

    def __init__(self, hear: Subscriber, restart: Restart | None) -> None:
        self.hear = hear
        self.restart = restart
        self.lost = False


class Publisher:
    """The followers, and how far they were told. Whoever tells them anything holds `lock`."""

    def __init__(self, known: Known, mark: Mark) -> None:
        self.lock = threading.RLock()
        self._known = known
        self._mark = mark
        self._followers: tuple[_Follower, ...] = ()

    @property
    def known(self) -> Known:
        """The epoch, and the last change that was told."""
        return self._known

    @property
    def lost(self) -> bool:
        """Whether a follower that can take a snapshot needs one."""
        return any(follower.lost for follower in self._followers)

    def add(self, hear: Subscriber, restart: Restart | None = None) -> Callable[[], None]:
        """Let `hear` be told from now on; return how to stop that."""
        follower = _Follower(hear, restart)
        with self.lock:
            self._followers += (follower,)

        def stop() -> None:
            with self.lock:
                self._followers = tuple(one for one in self._followers if one is not follower)

        return stop

    def continues(self, changes: tuple[Change, ...]) -> bool:
        """Whether `changes` are the next to be told."""
        return not changes or changes[0].seq == self._known.seq + 1

    def publish(self, changes: tuple[Change, ...]) -> None:
        """Tell the next changes. Under `lock`; what was told before is left out."""
        changes = tuple(one for one in changes if one.seq > self._known.seq)
        if not changes:
            return
        assert self.continues(changes), f"told up to {self._known.seq}, and {changes[0].seq} is next"
        self._note(Known(self._known.epoch, changes[-1].seq, prove(changes[-1])))
        for follower in self._followers:
            if follower.lost:
                continue
            try:
                follower.hear(changes)
            except Exception:
                # The commit stands and the writer must hear so. Who can take a snapshot is given one;
                # another finds the gap by `seq` and reads what it missed with `changes_since`.
                _log.exception("store.subscriber_failed", seq=changes[-1].seq)
                follower.lost = follower.restart is not None

    def restart(self, snapshot: Snapshot, known: Known, *, only_lost: bool = False) -> None:
        """Bring followers to `snapshot`. Under `lock`. Those that take none only hear that it happened."""
        self._note(known)
        for follower in self._followers:
            if only_lost and not follower.lost:
                continue
            try:
                if follower.restart is None:
                    follower.hear(())
                else:
                    follower.restart(snapshot)
                    follower.lost = False
            except Exception:
                _log.exception("store.subscriber_failed", seq=snapshot.seq)
                follower.lost = follower.restart is not None

    def _note(self, known: Known) -> None:
        self._known = known
        self._mark.write(known)
