"""What repositories need of a transaction, so that they do not import the store that they serve."""

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import Connection

from limen.core.changes import Projection
from limen.core.ids import Instant


class Writing(Protocol):
    """The transaction that a repository writes in. See `database.Transaction`."""

    @property
    def connection(self) -> Connection:
        """The connection, inside the write transaction."""
        ...

    @property
    def now(self) -> Instant:
        """The one instant of this transaction."""
        ...

    @property
    def actor(self) -> str:
        """Who does this."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...

    def change(self, kind: str, id: str, value: Projection | None) -> None:  # noqa: A002
        """Record a projection, or its tombstone."""
        ...

    def recorded(self, kind: str) -> Mapping[str, Projection | None]:
        """Return what this transaction has recorded of a kind so far, by id."""
        ...
