"""Workloads at rest: the machines that act here, whose they are, and the tokens that prove them.

A name is never issued twice, so nobody inherits what policies and grants say of one that was removed: it is
ended, and stays. Tokens never leave control; only their hashes are stored.

Law:
    F1 atomic. A workload and its groups are written together with their change record.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from limen.core.changes import WorkloadFact
from limen.core.entities import Status
from limen.core.errors import Conflict, Invalid, NotFound, Refused
from limen.core.ids import Instant, TokenHash, new_id
from limen.store.identity_tables import workload_credential
from limen.store.ports import Writing
from limen.store.tables import group, person, workload, workload_membership, workload_token

TOKEN_MAX_S = 366 * 86_400.0  # NIST SP 800-57 part 1 §5.3.6: one to two years at most; rotate each year
TOKENS_MAX = 20  # of one workload
TEXT_MAX = 255  # characters of a description, and of a token's name
RESERVED = frozenset({"host-operator"})
"""Names that Limen's own workloads have."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Workload(msgspec.Struct, frozen=True):
    """A workload as control knows it. `owner` is the person who answers for it.

    Attributes:
        expires_at: when it ends by itself; None for never.
        review_at: when its owner must have said that it is still needed.
        used_at: exact to a minute.
        stops_at: when it stops, as its owner has left; None while somebody answers for it.
        review_told_at: the review that its owner was told of.
    """

    id: str
    owner: str
    description: str
    status: Status
    quarantined: bool
    groups: tuple[str, ...]
    created_at: Instant
    expires_at: Instant | None = None
    review_at: Instant | None = None
    used_at: Instant | None = None
    stops_at: Instant | None = None
    review_told_at: Instant | None = None

    def render_fact(self) -> WorkloadFact:
        """Return what gateways may know."""
        return WorkloadFact(self.id, self.owner, self.status, self.quarantined, self.groups, self.expires_at)


class WorkloadToken(msgspec.Struct, frozen=True):
    """A token, without anything by which it could be used. `used_at` is exact to a minute."""

    id: str
    workload: str
    name: str
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None
    actor: str


def create_workload(
    tx: Writing,
    name: str,
    *,
    owner: str,
    description: str = "",
    expires_at: Instant | None = None,
    review_at: Instant | None = None,
) -> Workload:
    """Add a workload, active, in no group.

    Raises:
        Invalid: the name is not of the form.
        Conflict: it was issued before.
        NotFound, Refused: nobody of that name can own it.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"name: {name[:80]!r} is not of the form that workloads have.",
            remedy="Use a–z, 0–9, dot, dash and underscore, at most 64.",
        )
    if name in RESERVED or find_workload(tx.connection, name) is not None:
        raise Conflict(
            f"The workload name {name!r} was issued before.",
            remedy="Choose another: names are never issued twice.",
        )
    demand_owner(tx.connection, owner)
    row = {
        "id": name,
        "owner": owner,
        "description": parse_text(description, "description"),
        "status": Status.ACTIVE.value,
        "quarantined": False,
        "created_at": tx.now,
        "expires_at": expires_at,
        "review_at": review_at,
    }
    tx.connection.execute(insert(workload).values(row))
    return emit_workloads(tx, [name])[0]


def change_workload(tx: Writing, name: str, **fields: Any) -> Workload:
    """Change owner, description, status, quarantine, expiry or review. Ended is for good, with its tokens.

    Raises:
        Refused: it has ended.
    """
    before = get_workload(tx.connection, name)
    if before.status is Status.ENDED:
        raise Refused(f"The workload {name} was removed.", remedy="Make another, under another name.")
    if "owner" in fields:
        demand_owner(tx.connection, fields["owner"])
        fields["stops_at"] = None
    if "description" in fields:
        fields["description"] = parse_text(fields["description"], "description")
    if fields.get("status") == Status.ENDED:
        for table in (workload_token, workload_credential):
            tx.connection.execute(delete(table).where(table.c.workload == name))
    tx.connection.execute(update(workload).where(workload.c.id == name).values(**fields))
    return emit_workloads(tx, [name])[0]


def add_to_group(tx: Writing, name: str, group_id: str) -> Workload:
    """Put a workload into a group."""
    found = get_workload(tx.connection, name)
    if tx.connection.scalar(select(group.c.id).where(group.c.id == group_id)) is None:
        raise NotFound(f"There is no group {group_id[:80]!r}.", remedy="See `limen group list`.")
    if group_id not in found.groups:
        tx.connection.execute(insert(workload_membership).values(workload=name, group=group_id))
    return emit_workloads(tx, [name])[0]


def take_from_group(tx: Writing, name: str, group_id: str) -> Workload:
    """Take a workload out of a group.

    Raises:
        NotFound: it is not in it directly.
    """
    get_workload(tx.connection, name)
    pair = (workload_membership.c.workload == name) & (workload_membership.c.group == group_id)
    if tx.connection.execute(delete(workload_membership).where(pair)).rowcount == 0:
        raise NotFound(f"{name} is not in {group_id[:80]!r}.", remedy="See `limen workload show`.")
    return emit_workloads(tx, [name])[0]


def leave_group(tx: Writing, group_id: str) -> tuple[str, ...]:
    """Take every workload out of a group that is about to go; return them: `emit_workloads` comes after."""
    of_group = workload_membership.c.group == group_id
    names = tuple(tx.connection.scalars(select(workload_membership.c.workload).where(of_group)))
    tx.connection.execute(delete(workload_membership).where(of_group))
    return names


def emit_workloads(tx: Writing, names: Collection[str]) -> tuple[Workload, ...]:
    """Record the present projection of each workload, and return them."""
    found = _load(tx.connection, tuple(names)) if names else ()
    for one in found:
        tx.change("workload", one.id, one.render_fact())
    return found


def get_workload(connection: Connection, name: str) -> Workload:
    """Return the workload.

    Raises:
        NotFound: there is none of this name.
    """
    found = find_workload(connection, name)
    if found is None:
        raise NotFound(f"There is no workload {name[:80]!r}.", remedy="See `limen workload list`.")
    return found


def find_workload(connection: Connection, name: str) -> Workload | None:
    """Return the workload of this name, removed or not."""
    return next(iter(_load(connection, (name,))), None)


def list_workloads(connection: Connection, *, ended: bool = False) -> tuple[Workload, ...]:
    """Return workloads by name; `ended` takes those in too that were removed."""
    return tuple(one for one in _load(connection) if ended or one.status is not Status.ENDED)


# --- tokens ----------------------------------------------------------------------------------------


def add_token(tx: Writing, name: str, token: TokenHash, *, label: str, life_s: float) -> WorkloadToken:
    """Store a new token of a workload.

    Raises:
        Invalid: it would live too long, or not at all.
        Refused: the workload has ended, or has too many.
    """
    found = get_workload(tx.connection, name)
    if found.status is Status.ENDED:
        raise Refused(f"The workload {name} was removed.", remedy="Make another, under another name.")
    if not 0 < life_s <= TOKEN_MAX_S:
        raise Invalid("expires_s: a token lives between one second and 366 days.", remedy="Write 90d.")
    count = select(func.count()).select_from(workload_token).where(workload_token.c.workload == name)
    if (tx.connection.scalar(count) or 0) >= TOKENS_MAX:
        many = f"{name} has {TOKENS_MAX} tokens already."
        raise Refused(many, remedy="Revoke one: `limen workload revoke`.")
    row = WorkloadToken(
        id=new_id("wlt"),
        workload=name,
        name=parse_text(label, "name"),
        created_at=tx.now,
        expires_at=tx.now + life_s,
        used_at=None,
        actor=tx.actor,
    )
    tx.connection.execute(insert(workload_token).values(token_hash=token, **msgspec.structs.asdict(row)))
    return row


def find_token(connection: Connection, token: TokenHash) -> WorkloadToken | None:
    """Return the token of this hash, expired or not."""
    row = connection.execute(select(workload_token).where(workload_token.c.token_hash == token)).first()
    return None if row is None else _token(row)


def find_token_workload(connection: Connection, token_id: str) -> str:
    """Return whose token it is, by its id; empty when there is none."""
    query = select(workload_token.c.workload).where(workload_token.c.id == token_id)
    return connection.scalar(query) or ""


def list_tokens(connection: Connection, name: str) -> tuple[WorkloadToken, ...]:
    """Return a workload's tokens, oldest first."""
    get_workload(connection, name)
    query = select(workload_token).where(workload_token.c.workload == name)
    return tuple(_token(row) for row in connection.execute(query.order_by(workload_token.c.created_at)))


def revoke_token(tx: Writing, token_id: str) -> WorkloadToken:
    """Remove a token; return it as it was.

    Raises:
        NotFound: there is none of this id.
    """
    query = select(workload_token).where(workload_token.c.id == token_id)
    row = tx.connection.execute(query).first()
    if row is None:
        raise NotFound(f"There is no token '{token_id[:80]}'.", remedy="See `limen workload tokens NAME`.")
    tx.connection.execute(delete(workload_token).where(workload_token.c.id == token_id))
    return _token(row)


def note_use(connection: Connection, token_id: str, at: Instant) -> None:
    """Note that a token was used. Nobody's business but control's: no change."""
    connection.execute(update(workload_token).where(workload_token.c.id == token_id).values(used_at=at))


def demand_owner(connection: Connection, owner: str) -> None:
    """Raise unless this person can answer for a workload."""
    status = connection.scalar(select(person.c.status).where(person.c.id == owner))
    if status is None:
        raise NotFound(f"owner: there is no person {owner[:80]!r}.", remedy="See `limen user list`.")
    if status != Status.ACTIVE:
        raise Refused(f"owner: {owner} is {status}.", remedy="Name a person who is active.")


def parse_text(text: str, field: str) -> str:
    """Return one line of text.

    Raises:
        Invalid: too long, or with characters that do not print.
    """
    text = text.strip()
    if len(text) > TEXT_MAX or not text.isprintable():
        raise Invalid(f"{field}: it is too long, or holds control characters.", remedy="Write one line.")
    return text


def _load(connection: Connection, names: Sequence[str] | None = None) -> tuple[Workload, ...]:
    wanted, joined = select(workload), select(workload_membership)
    if names is not None:
        wanted = wanted.where(workload.c.id.in_(names))
        joined = joined.where(workload_membership.c.workload.in_(names))
    groups: dict[str, list[str]] = {}
    for row in connection.execute(joined):
        groups.setdefault(row.workload, []).append(row.group)
    rows = connection.execute(wanted.order_by(workload.c.id))
    return tuple(_workload(row, groups.get(row.id, ())) for row in rows)


def _workload(row: Row[Any], groups: Iterable[str]) -> Workload:
    return Workload(
        id=row.id,
        owner=row.owner,
        description=row.description,
        status=Status(row.status),
        quarantined=row.quarantined,
        groups=tuple(sorted(groups)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        review_at=row.review_at,
        used_at=row.used_at,
        stops_at=row.stops_at,
        review_told_at=row.review_told_at,
    )


def _token(row: Row[Any]) -> WorkloadToken:
    return WorkloadToken(**{name: getattr(row, name) for name in WorkloadToken.__struct_fields__})
