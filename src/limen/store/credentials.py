"""Credentials at rest: password hashes, sealed TOTP seeds, passkeys, recovery codes. None has a projection.

Law: C1 once means once. A TOTP step, a recovery code and a passkey's counter are spent by one
conditional UPDATE, so two requests that race cannot both win.
"""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from limen.core.entities import Status
from limen.core.errors import Conflict
from limen.core.ids import Instant
from limen.store.tables import passkey, password, person, recovery_code, totp


class StoredTotp(msgspec.Struct, frozen=True):
    """A paired authenticator app."""

    seed_sealed: str
    last_step: int


class StoredPasskey(msgspec.Struct, frozen=True):
    """A passkey's public half. `id` is the base64url credential id; `attested`, `bound`: as `NewPasskey`."""

    id: str
    person: str
    public_key: bytes
    sign_count: int
    aaguid: str
    name: str
    backed_up: bool
    created_at: Instant
    used_at: Instant | None = None
    attested: bool = False
    bound: bool = False


class Credentials(msgspec.Struct, frozen=True):
    """A person together with what they can sign in with."""

    person: str
    handle: bytes
    name: str
    email: str
    status: Status
    expires_at: Instant | None
    password_hash: str | None
    totp: StoredTotp | None
    passkeys: int
    recovery_left: int

    def active_at(self, now: Instant) -> bool:
        """Whether this person may sign in at all."""
        return self.status is Status.ACTIVE and (self.expires_at is None or now < self.expires_at)

    @property
    def second_factors(self) -> frozenset[str]:
        """What can follow a password: any of totp, passkey, recovery."""
        found = {"totp"} if self.totp else set()
        found |= {"passkey"} if self.passkeys else set()
        return frozenset(found | {"recovery"}) if found and self.recovery_left else frozenset(found)


def load_credentials(connection: Connection, username: str) -> Credentials | None:
    """Return the credentials of a person."""
    return _load(connection, person.c.id == username)


def load_by_handle(connection: Connection, handle: bytes) -> Credentials | None:
    """Return the credentials of the person with this WebAuthn user handle."""
    return _load(connection, person.c.handle == handle)


def anybody(connection: Connection) -> bool:
    """Whether the directory holds a person at all."""
    return connection.execute(select(person.c.id).limit(1)).first() is not None


def set_handle(connection: Connection, username: str, handle: bytes) -> None:
    """Give a person who was just created the handle that their first passkey was made for."""
    connection.execute(update(person).where(person.c.id == username).values(handle=handle))


def set_password(connection: Connection, username: str, hashed: str, at: Instant) -> None:
    """Set or replace a person's password hash."""
    connection.execute(delete(password).where(password.c.person == username))
    connection.execute(insert(password).values(person=username, hash=hashed, set_at=at))


def set_totp(connection: Connection, username: str, seed_sealed: str, last_step: int, at: Instant) -> None:
    """Pair or replace the authenticator app. `last_step` is the step that proved the pairing."""
    remove_totp(connection, username)
    connection.execute(
        insert(totp).values(person=username, seed_sealed=seed_sealed, last_step=last_step, set_at=at)
    )


def remove_totp(connection: Connection, username: str) -> bool:
    """Unpair the authenticator app; return whether there was one."""
    return connection.execute(delete(totp).where(totp.c.person == username)).rowcount == 1


def spend_totp_step(connection: Connection, username: str, step: int) -> bool:
    """Accept a step if it is later than every accepted one (laws C1, T1)."""
    spent = update(totp).where(totp.c.person == username, totp.c.last_step < step).values(last_step=step)
    return connection.execute(spent).rowcount == 1


def add_passkey(connection: Connection, key: StoredPasskey) -> None:
    """Store a new passkey.

    Raises:
        Conflict: the credential id is registered already (WebAuthn section 7.1 step 27).
    """
    if load_passkey(connection, key.id) is not None:
        raise Conflict("This passkey is registered already.", remedy="Sign in with it.")
    connection.execute(insert(passkey).values(**msgspec.structs.asdict(key)))


def load_passkey(connection: Connection, credential_id: str) -> StoredPasskey | None:
    """Return the passkey with this credential id."""
    row = connection.execute(select(passkey).where(passkey.c.id == credential_id)).mappings().first()
    return _passkey(row) if row else None


def list_passkeys(connection: Connection, username: str) -> tuple[StoredPasskey, ...]:
    """Return a person's passkeys, oldest first."""
    rows = connection.execute(
        select(passkey).where(passkey.c.person == username).order_by(passkey.c.created_at)
    )
    return tuple(_passkey(row) for row in rows.mappings())


def spend_passkey_use(
    connection: Connection, key: StoredPasskey, *, sign_count: int, backed_up: bool, at: Instant
) -> bool:
    """Note a verified use, if the passkey is still as it was when it was verified (law C1)."""
    spent = (
        update(passkey)
        .where(passkey.c.id == key.id, passkey.c.sign_count == key.sign_count)
        .values(sign_count=sign_count, backed_up=backed_up, used_at=at)
    )
    return connection.execute(spent).rowcount == 1


def rename_passkey(connection: Connection, username: str, credential_id: str, name: str) -> bool:
    """Rename one of a person's own passkeys; return whether there was one."""
    mine = update(passkey).where(passkey.c.id == credential_id, passkey.c.person == username)
    return connection.execute(mine.values(name=name)).rowcount == 1


def remove_passkey(connection: Connection, username: str, credential_id: str) -> bool:
    """Remove one of a person's own passkeys; return whether there was one."""
    gone = delete(passkey).where(passkey.c.id == credential_id, passkey.c.person == username)
    return connection.execute(gone).rowcount == 1


def replace_recovery_codes(connection: Connection, username: str, hashes: Iterable[str]) -> None:
    """Store a new set of recovery codes; the old ones are gone."""
    connection.execute(delete(recovery_code).where(recovery_code.c.person == username))
    connection.execute(insert(recovery_code), [{"hash": h, "person": username} for h in hashes])


def spend_recovery_code(connection: Connection, username: str, hashed: str, at: Instant) -> bool:
    """Use up a recovery code (law C1)."""
    spent = (
        update(recovery_code)
        .where(recovery_code.c.hash == hashed, recovery_code.c.person == username)
        .where(recovery_code.c.used_at.is_(None))
        .values(used_at=at)
    )
    return connection.execute(spent).rowcount == 1


def remove_all(connection: Connection, username: str) -> None:
    """Remove everything a person could sign in with."""
    for table in (password, totp, passkey, recovery_code):
        connection.execute(delete(table).where(table.c.person == username))


def _load(connection: Connection, which: object) -> Credentials | None:
    keys = select(func.count()).where(passkey.c.person == person.c.id).scalar_subquery()
    codes = (
        select(func.count())
        .where(recovery_code.c.person == person.c.id, recovery_code.c.used_at.is_(None))
        .scalar_subquery()
    )
    query = (
        select(
            person,
            password.c.hash.label("password_hash"),
            totp.c.seed_sealed,
            totp.c.last_step,
            keys.label("passkeys"),
            codes.label("recovery_left"),
        )
        .outerjoin(password, password.c.person == person.c.id)
        .outerjoin(totp, totp.c.person == person.c.id)
        .where(which)  # type: ignore[arg-type]
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    paired = StoredTotp(row["seed_sealed"], row["last_step"]) if row["seed_sealed"] else None
    return Credentials(
        person=row["id"],
        handle=row["handle"],
        name=row["name"],
        email=row["email"],
        status=Status(row["status"]),
        expires_at=row["expires_at"],
        password_hash=row["password_hash"],
        totp=paired,
        passkeys=row["passkeys"],
        recovery_left=row["recovery_left"],
    )


def _passkey(row: RowMapping) -> StoredPasskey:
    return StoredPasskey(**{field: row[field] for field in StoredPasskey.__struct_fields__})
