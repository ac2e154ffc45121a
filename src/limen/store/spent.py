"""What may be used once: ids of assertions, proofs and logout tokens, remembered until they are too old.

Law: C1 once means once. The row is the lock: of two requests that race, one inserts it.
"""

import hashlib

from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import IntegrityError

from limen.core.ids import Instant
from limen.store.tables import spent

VALUE_MAX = 1024  # characters of an id that somebody else chose


def spend_once(connection: Connection, kind: str, value: str, expires_at: Instant) -> bool:
    """Use a value; return whether it was unused. An empty or endless value is always used.

    Args:
        connection: of a transaction that writes.
        kind: what it is, with whose it is: `dpop`, `jti:<client>`, `saml:<provider>`.
        value: as the other side chose it.
        expires_at: when it would be refused for its age anyway.
    """
    if not 0 < len(value) <= VALUE_MAX:
        return False
    key = hashlib.sha256(f"{kind}\0{value}".encode()).hexdigest()
    if connection.scalar(select(spent.c.key).where(spent.c.key == key)) is not None:
        return False
    try:
        with connection.begin_nested():
            connection.execute(spent.insert().values(key=key, expires_at=expires_at))
    except IntegrityError:
        return False
    return True


def purge_spent(connection: Connection, now: Instant) -> None:
    """Forget what is refused for its age anyway."""
    connection.execute(delete(spent).where(spent.c.expires_at < now))
