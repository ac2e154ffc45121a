"""Directories that are read: what each says of whom here, and how its readings went."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from limen.core.ids import Instant
from limen.store.directory.people import Person, load_people
from limen.store.identity_tables import source_account, source_run
from limen.store.ports import Writing
from limen.store.tables import external_identity, membership, person

RUNS_KEPT = 50  # of each source
PROBLEMS_KEPT = 200  # of each run


class Says(StrEnum):
    """What a directory says of an account."""

    ACTIVE = "active"
    DISABLED = "disabled"
    GONE = "gone"


class SourceAccount(msgspec.Struct, frozen=True):
    """What a source says of a person, since when.

    Attributes:
        suspended: the person is suspended because of it.
        ends_at: when the source lets the account expire.
    """

    source: str
    person: str
    says: Says
    email: str
    since: Instant
    suspended: bool = False
    ends_at: Instant | None = None


class SourceRun(msgspec.Struct, frozen=True):
    """One reading of a source. `outcome` is `applied`, `stopped` or `failed`."""

    id: str
    source: str
    started_at: Instant
    ended_at: Instant
    outcome: str
    why: str
    counts: Mapping[str, int]
    problems: tuple[Mapping[str, Any], ...]
    actor: str


class Known(msgspec.Struct, frozen=True):
    """What is here before a directory is compared with it.

    Attributes:
        linked: the directory's stable id to who that is here.
        accounts: what the directory said last time, by person.
        groups: the groups that the directory gave, by person.
        usernames: every username that was ever issued.
    """

    linked: Mapping[str, Person]
    accounts: Mapping[str, SourceAccount]
    groups: Mapping[str, frozenset[str]]
    usernames: frozenset[str]


def load_known(connection: Connection, source: str) -> Known:
    """Return what is here of a source."""
    links = select(external_identity.c.subject, external_identity.c.person).where(
        external_identity.c.source == source
    )
    pairs = {row.subject: row.person for row in connection.execute(links)}
    people = load_people(connection, list(pairs.values()))
    given = select(membership.c.person, membership.c.group).where(membership.c.source == source)
    groups: dict[str, set[str]] = {}
    for who, group in connection.execute(given):
        groups.setdefault(who, set()).add(group)
    return Known(
        linked={subject: people[who] for subject, who in pairs.items() if who in people},
        accounts={one.person: one for one in list_accounts(connection, source=source)},
        groups={who: frozenset(names) for who, names in groups.items()},
        usernames=frozenset(connection.scalars(select(person.c.id))),
    )


def list_accounts(
    connection: Connection, *, source: str | None = None, person: str | None = None
) -> tuple[SourceAccount, ...]:
    """Return what sources say: one source, of one person, or all."""
    query = select(source_account)
    if source is not None:
        query = query.where(source_account.c.source == source)
    if person is not None:
        query = query.where(source_account.c.person == person)
    rows = connection.execute(query.order_by(source_account.c.source, source_account.c.person))
    return tuple(
        SourceAccount(
            row.source, row.person, Says(row.says), row.email, row.since, row.suspended, row.ends_at
        )
        for row in rows
    )


def note_run(tx: Writing, run: SourceRun) -> None:
    """Keep how a reading went, and the last ones of its source beside it."""
    row = msgspec.structs.asdict(run)
    row |= {"counts": dict(run.counts), "problems": list(run.problems[:PROBLEMS_KEPT])}
    tx.connection.execute(insert(source_run).values(row))
    kept = [one.id for one in list_runs(tx.connection, run.source, limit=RUNS_KEPT)]
    old = (source_run.c.source == run.source) & source_run.c.id.not_in(kept)
    tx.connection.execute(delete(source_run).where(old))


def list_runs(connection: Connection, source: str, *, limit: int = RUNS_KEPT) -> tuple[SourceRun, ...]:
    """Return the last readings of a source, the latest first."""
    query = select(source_run).where(source_run.c.source == source)
    rows = connection.execute(query.order_by(source_run.c.started_at.desc(), source_run.c.id).limit(limit))
    return tuple(SourceRun(**{**row, "problems": tuple(row["problems"])}) for row in rows.mappings())


def forget_account(tx: Writing, source: str, person: str) -> None:
    """Forget what a source says of a person."""
    mine = (source_account.c.source == source) & (source_account.c.person == person)
    tx.connection.execute(delete(source_account).where(mine))
