"""What the feed needs of the store and of a connection, and what it tells of each gateway."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from limen.administrator.feed_wire import Signed
from limen.core.changes import Change, Snapshot
from limen.core.ids import Instant


class FeedStore(Protocol):
    """What the feed needs of the store."""

    @property
    def epoch(self) -> str:
        """The life of this database."""
        ...

    def head(self) -> int:
        """Return the seq of the last change, read from the database now."""
        ...

    def snapshot(self) -> Snapshot:
        """Return all live projections at the head."""
        ...

    def changes_since(self, seq: int, limit: int) -> tuple[Change, ...]:
        """Return what followed `seq`, in whole transactions; `Conflict` when it cannot be told."""
        ...

    def subscribe(self, subscriber: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call `subscriber` after each commit."""
        ...


class Peer(Protocol):
    """Who is at the other end, as the connection proves it."""

    @property
    def node(self) -> str | None:
        """The name that was proven; None where the gateway names itself (control's own Unix socket)."""
        ...

    @property
    def address(self) -> str:
        """Where it comes from."""
        ...

    @property
    def protocol_oldest(self) -> int:
        """The oldest protocol that is spoken with it."""
        ...

    @property
    def expires_at(self) -> Instant | None:
        """When what it proves itself with ends."""
        ...

    def admit(self) -> None:
        """Raise `Refused` if it may not, or no longer, follow. Reads the database."""
        ...

    def renew(self, csr: str) -> Signed:
        """Sign its next certificate, or raise `LimenError`."""
        ...

    def sign_leaf(self, csr: str) -> Signed:
        """Sign a certificate of the catalogue's hosts for it, or raise `LimenError`."""
        ...


class Following(msgspec.Struct, frozen=True):
    """A gateway that follows now.

    Attributes:
        position: the last change that it was sent. `seq`: the last that it said to have.
        lag: changes that it has yet to get.
        age_s: how old what it knows is (law F3), as it said with its last ping; None: never confirmed.
        ping_age_s: seconds since that ping.
    """

    node: str
    position: int
    seq: int
    lag: int
    release: str
    protocol: int
    streams: int
    age_s: float | None
    since: Instant
    ping_age_s: float
    address: str
    certificate_expires_at: Instant | None
