"""Sign-ins under way, one-time links, and the buckets that slow guessing down. None has a projection."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from limen.core.ids import Instant
from limen.store.tables import enrolment_link, sign_in, throttle


class PendingSignIn(msgspec.Struct, frozen=True):
    """A sign-in that is not finished. Found by the hash of the token in the browser's cookie."""

    token_hash: str
    state: str
    person: str | None
    data: Mapping[str, Any]
    expires_at: Instant


class EnrolmentLink(msgspec.Struct, frozen=True):
    """A one-time link. `person` is None for the first administrator's."""

    token_hash: str
    person: str | None
    purpose: str
    expires_at: Instant


def open_sign_in(connection: Connection, row: PendingSignIn) -> None:
    """Store a sign-in that begins."""
    connection.execute(insert(sign_in).values(**msgspec.structs.asdict(row)))


def load_sign_in(connection: Connection, token_hash: str, now: Instant) -> PendingSignIn | None:
    """Return a sign-in under way."""
    row = connection.execute(
        select(sign_in).where(sign_in.c.token_hash == token_hash, sign_in.c.expires_at > now)
    ).first()
    return PendingSignIn(**row._mapping) if row else None


def save_sign_in(connection: Connection, row: PendingSignIn) -> None:
    """Store how a sign-in went on."""
    values = msgspec.structs.asdict(row)
    connection.execute(update(sign_in).where(sign_in.c.token_hash == row.token_hash).values(**values))


def close_sign_in(connection: Connection, token_hash: str) -> bool:
    """Remove a sign-in; return whether it was there, so that of two that race one goes on."""
    return connection.execute(delete(sign_in).where(sign_in.c.token_hash == token_hash)).rowcount == 1


def add_link(connection: Connection, link: EnrolmentLink) -> None:
    """Store a link; earlier unused ones of the same person end."""
    connection.execute(
        delete(enrolment_link).where(
            enrolment_link.c.person.is_not_distinct_from(link.person), enrolment_link.c.used_at.is_(None)
        )
    )
    connection.execute(insert(enrolment_link).values(**msgspec.structs.asdict(link)))


def load_link(connection: Connection, token_hash: str, now: Instant) -> EnrolmentLink | None:
    """Return a link that is unused and not over."""
    row = connection.execute(
        select(enrolment_link)
        .where(enrolment_link.c.token_hash == token_hash)
        .where(enrolment_link.c.used_at.is_(None), enrolment_link.c.expires_at > now)
    ).first()
    if row is None:
        return None
    return EnrolmentLink(row.token_hash, row.person, row.purpose, row.expires_at)


def spend_link(connection: Connection, token_hash: str, now: Instant) -> bool:
    """Use a link up; return False if it was used or is over."""
    spent = (
        update(enrolment_link)
        .where(enrolment_link.c.token_hash == token_hash)
        .where(enrolment_link.c.used_at.is_(None), enrolment_link.c.expires_at > now)
        .values(used_at=now)
    )
    return connection.execute(spent).rowcount == 1


def load_buckets(connection: Connection, keys: Iterable[str]) -> Mapping[str, Instant]:
    """Return the theoretical arrival times of those buckets that are not full."""
    rows = connection.execute(select(throttle).where(throttle.c.key.in_(list(keys))))
    return {row.key: row.theoretical_at for row in rows}


def save_buckets(connection: Connection, buckets: Mapping[str, Instant]) -> None:
    """Store theoretical arrival times."""
    clear_buckets(connection, buckets)
    connection.execute(insert(throttle), [{"key": k, "theoretical_at": at} for k, at in buckets.items()])


def clear_buckets(connection: Connection, keys: Iterable[str]) -> None:
    """Fill buckets up again, after a success."""
    connection.execute(delete(throttle).where(throttle.c.key.in_(list(keys))))


def purge(connection: Connection, now: Instant) -> int:
    """Remove what time has made worthless; return how many rows went."""
    gone = 0
    for old in (
        delete(sign_in).where(sign_in.c.expires_at <= now),
        delete(enrolment_link).where(enrolment_link.c.expires_at <= now),
        delete(throttle).where(throttle.c.theoretical_at <= now),
    ):
        gone += connection.execute(old).rowcount
    return gone
