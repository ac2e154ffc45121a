"""What machines prove themselves by, and their sessions, at rest.

Secrets and tokens never leave control; only their hashes are stored. Sessions are told to gateways.

Law:
    F1 atomic. A session and its change record are written together.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from limen.core.changes import WorkloadSessionFact
from limen.core.entities import Status
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.core.ids import Instant, TokenHash, new_id
from limen.store.identity_tables import workload_credential, workload_session
from limen.store.ports import Writing
from limen.store.tables import person, workload
from limen.store.workloads import get_workload, parse_text

KEY, SECRET = "key", "secret"
KEY_MAX_S = 366 * 86_400.0  # NIST SP 800-57 part 1 section 5.3.6: a year or two; keys here are rotated yearly
SECRET_MAX_S = 90 * 86_400.0  # shorter: whoever reads it once has it
CREDENTIALS_MAX = 10  # of one workload: two of a kind while one replaces the other, and some more
SESSIONS_MAX = 100  # of one workload; the oldest ends when one more begins


class Credential(msgspec.Struct, frozen=True):
    """A key or a secret of a workload, without anything by which it could be used.

    Attributes:
        kind: `key` or `secret`.
        proof: thumbprint of the key, hash of the secret.
        public: of a key: its public half, a JWK.
        used_at: exact to a minute.
    """

    id: str
    workload: str
    kind: str
    proof: str
    public: Mapping[str, Any] | None
    name: str
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None
    actor: str


class MachineSession(msgspec.Struct, frozen=True):
    """A workload's short-lived access. `about` says who it was on the other side, for lists."""

    token_hash: str
    workload: str
    methods: tuple[str, ...]
    apps: tuple[str, ...]
    jkt: str
    x5t: str
    started_at: Instant
    expires_at: Instant
    about: str
    ip: str

    def render_fact(self) -> WorkloadSessionFact:
        """Return what gateways may know."""
        return WorkloadSessionFact(
            id=self.token_hash,
            workload=self.workload,
            methods=self.methods,
            started_at=self.started_at,
            expires_at=self.expires_at,
            apps=self.apps,
            jkt=self.jkt,
            x5t=self.x5t,
        )


# --- keys and secrets --------------------------------------------------------------------------------


def add_credential(
    tx: Writing,
    name: str,
    *,
    kind: str,
    proof: str,
    label: str,
    life_s: float,
    public: Mapping[str, Any] | None = None,
) -> Credential:
    """Store a key or a secret of a workload.

    Raises:
        Invalid: it would live too long, or not at all.
        Refused: the workload has ended, or has too many.
        Conflict: the key is known already, as this workload's or another's.
    """
    found = get_workload(tx.connection, name)
    if found.status is Status.ENDED:
        raise Refused(f"The workload {name} was removed.", remedy="Make another, under another name.")
    most_s = KEY_MAX_S if kind == KEY else SECRET_MAX_S
    if not 0 < life_s <= most_s:
        days = round(most_s / 86_400)
        raise Invalid(f"expires_s: a {kind} lives between one second and {days} days.", remedy="Write 90d.")
    table = workload_credential
    count = select(func.count()).select_from(table).where(table.c.workload == name)
    if (tx.connection.scalar(count) or 0) >= CREDENTIALS_MAX:
        many = f"{name} has {CREDENTIALS_MAX} keys and secrets already."
        raise Refused(many, remedy="Remove one: `limen workload key remove`.")
    if tx.connection.scalar(select(table.c.id).where(table.c.proof == proof)) is not None:
        raise Conflict("This key is registered already.", remedy="Make a new one: no two share a key.")
    row = Credential(
        id=new_id("wlc"),
        workload=name,
        kind=kind,
        proof=proof,
        public=public,
        name=parse_text(label, "name"),
        created_at=tx.now,
        expires_at=tx.now + life_s,
        used_at=None,
        actor=tx.actor,
    )
    tx.connection.execute(insert(table).values(msgspec.structs.asdict(row)))
    return row


def list_credentials(connection: Connection, name: str | None = None) -> tuple[Credential, ...]:
    """Return keys and secrets, of one workload or of all, oldest first."""
    query = select(workload_credential).order_by(workload_credential.c.created_at, workload_credential.c.id)
    if name is not None:
        query = query.where(workload_credential.c.workload == name)
    return tuple(_credential(row) for row in connection.execute(query))


def find_secret(connection: Connection, proof: str) -> Credential | None:
    """Return the secret of this hash, expired or not."""
    table = workload_credential
    row = connection.execute(select(table).where(table.c.proof == proof, table.c.kind == SECRET)).first()
    return None if row is None else _credential(row)


def remove_credential(tx: Writing, credential_id: str) -> Credential:
    """Remove a key or a secret; return it as it was.

    Raises:
        NotFound: there is none of this id.
    """
    table = workload_credential
    row = tx.connection.execute(select(table).where(table.c.id == credential_id)).first()
    if row is None:
        said = f"There is no key or secret {credential_id[:80]!r}."
        raise NotFound(said, remedy="See `limen workload key list NAME`.")
    tx.connection.execute(delete(table).where(table.c.id == credential_id))
    return _credential(row)


def shorten_credential(tx: Writing, credential: Credential, expires_at: Instant) -> None:
    """Let a key or a secret end earlier than it would."""
    if expires_at < credential.expires_at:
        table = workload_credential
        row = update(table).where(table.c.id == credential.id)
        tx.connection.execute(row.values(expires_at=expires_at))


def note_credential_use(connection: Connection, credential_id: str, at: Instant) -> None:
    """Note that a key or a secret was used: no change of the feed."""
    table = workload_credential
    connection.execute(update(table).where(table.c.id == credential_id).values(used_at=at))


def note_workloads_used(connection: Connection, used: Mapping[str, Instant]) -> None:
    """Move last uses of workloads forward: no change of the feed."""
    for name, at in used.items():
        older = workload.c.used_at.is_(None) | (workload.c.used_at < at)
        connection.execute(update(workload).where(workload.c.id == name, older).values(used_at=at))


# --- sessions ----------------------------------------------------------------------------------------


def add_session(tx: Writing, row: MachineSession) -> None:
    """Store a session that begins. Where a workload has as many as it may, the oldest ends."""
    held = list_sessions(tx.connection, row.workload)
    for old in held[: max(0, len(held) + 1 - SESSIONS_MAX)]:
        end_session(tx, old)
    tx.connection.execute(insert(workload_session).values(msgspec.structs.asdict(row)))
    tx.change("workload_session", row.token_hash, row.render_fact())


def end_session(tx: Writing, row: MachineSession) -> None:
    """Store that a session is over."""
    table = workload_session
    tx.connection.execute(delete(table).where(table.c.token_hash == row.token_hash))
    tx.change("workload_session", row.token_hash, None)


def end_sessions(tx: Writing, name: str) -> int:
    """End every session of a workload; return how many."""
    held = list_sessions(tx.connection, name)
    for row in held:
        end_session(tx, row)
    return len(held)


def find_session(connection: Connection, token: TokenHash) -> MachineSession | None:
    """Return the session of a token, over or not."""
    table = workload_session
    row = connection.execute(select(table).where(table.c.token_hash == token)).first()
    return None if row is None else _session(row)


def list_sessions(connection: Connection, name: str | None = None) -> tuple[MachineSession, ...]:
    """Return sessions, of one workload or of all, oldest first."""
    query = select(workload_session).order_by(workload_session.c.started_at, workload_session.c.token_hash)
    if name is not None:
        query = query.where(workload_session.c.workload == name)
    return tuple(_session(row) for row in connection.execute(query))


def list_over_sessions(connection: Connection, now: Instant) -> tuple[MachineSession, ...]:
    """Return sessions whose time is up, or whose workload may not act any more."""
    table = workload_session
    over = (
        (table.c.expires_at <= now)
        | (workload.c.status != Status.ACTIVE.value)
        | (workload.c.expires_at <= now)
    )
    query = select(table).join(workload, workload.c.id == table.c.workload).where(over)
    return tuple(_session(row) for row in connection.execute(query))


# --- lives -------------------------------------------------------------------------------------------


def list_ownerless(connection: Connection, now: Instant) -> tuple[str, ...]:
    """Return the workloads that are not removed and whose owner may not come in any more, by name."""
    left = (person.c.id.is_(None)) | (person.c.status != Status.ACTIVE.value) | (person.c.expires_at <= now)
    query = (
        select(workload.c.id)
        .outerjoin(person, person.c.id == workload.c.owner)
        .where(workload.c.status != Status.ENDED.value, left)
        .order_by(workload.c.id)
    )
    return tuple(connection.scalars(query))


def list_reviews_due(connection: Connection, now: Instant) -> tuple[str, ...]:
    """Return the active workloads whose review is due, and whose owner was not told of it yet."""
    untold = workload.c.review_told_at.is_(None) | (workload.c.review_told_at < workload.c.review_at)
    query = select(workload.c.id).where(
        workload.c.status == Status.ACTIVE.value, workload.c.review_at <= now, untold
    )
    return tuple(connection.scalars(query.order_by(workload.c.id)))


def set_life(tx: Writing, names: Iterable[str], **fields: Instant | None) -> None:
    """Set `stops_at` or `review_told_at`, of which gateways know nothing."""
    for name in names:
        tx.connection.execute(update(workload).where(workload.c.id == name).values(**fields))


def _credential(row: Row[Any]) -> Credential:
    return Credential(**{name: getattr(row, name) for name in Credential.__struct_fields__})


def _session(row: Row[Any]) -> MachineSession:
    values = {name: getattr(row, name) for name in MachineSession.__struct_fields__}
    return MachineSession(**values | {name: tuple(values[name]) for name in ("methods", "apps")})
