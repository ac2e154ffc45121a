"""Device codes at rest (RFC 8628): a program asks, a person with a browser answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from limen.core.ids import Instant
from limen.store.tables import device_code


class DeviceCode(msgspec.Struct, frozen=True):
    """One request of a program. `state` is pending, approved or denied.

    Attributes:
        client: what people are told that it is.
        client_id: what it is: `limen-connect`, or a client of the bundle.
        asked: what a client of the bundle asked for.
    """

    code_hash: str
    user_code: str
    state: str
    client: str
    ip: str
    created_at: Instant
    expires_at: Instant
    session: str | None = None
    polled_at: Instant | None = None
    client_id: str = "limen-connect"
    asked: Mapping[str, Any] | None = None


def add_device(connection: Connection, row: DeviceCode) -> None:
    """Store a request."""
    connection.execute(insert(device_code).values(**msgspec.structs.asdict(row)))


def find_device(connection: Connection, code_hash: str) -> DeviceCode | None:
    """Return the request of a device code, whatever its state."""
    row = connection.execute(select(device_code).where(device_code.c.code_hash == code_hash)).first()
    return DeviceCode(**row._mapping) if row else None


def find_pending(connection: Connection, user_code: str, now: Instant) -> DeviceCode | None:
    """Return the request that still waits for an answer under this user code."""
    query = select(device_code).where(
        device_code.c.user_code == user_code,
        device_code.c.state == "pending",
        device_code.c.expires_at > now,
    )
    row = connection.execute(query).first()
    return DeviceCode(**row._mapping) if row else None


def answer_device(connection: Connection, row: DeviceCode, state: str, session: str | None) -> bool:
    """Store a person's answer; return whether the request still waited for one."""
    query = update(device_code).where(
        device_code.c.code_hash == row.code_hash, device_code.c.state == "pending"
    )
    return connection.execute(query.values(state=state, session=session)).rowcount == 1


def note_poll(connection: Connection, row: DeviceCode, at: Instant) -> None:
    """Store when the program last asked."""
    where = device_code.c.code_hash == row.code_hash
    connection.execute(update(device_code).where(where).values(polled_at=at))


def spend_device(connection: Connection, row: DeviceCode) -> bool:
    """Remove a request; return whether it was still there."""
    gone = connection.execute(delete(device_code).where(device_code.c.code_hash == row.code_hash))
    return gone.rowcount == 1


def list_waiting(connection: Connection, now: Instant) -> tuple[str, ...]:
    """Return the address of each request that waits for an answer."""
    query = select(device_code.c.ip).where(device_code.c.state == "pending", device_code.c.expires_at > now)
    return tuple(connection.scalars(query))


def purge_devices(connection: Connection, now: Instant) -> int:
    """Remove requests whose time is up; return how many."""
    return connection.execute(delete(device_code).where(device_code.c.expires_at <= now)).rowcount
