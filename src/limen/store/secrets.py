"""App secrets by name: stored sealed, listed without value, opened only by what must use them.

A gateway is told only those that it must inject (`gateway=True`: an app's `identity: basic`); others,
such as the client secret of an OpenID provider, have no projection and never leave control.
"""

import re

import msgspec
from sqlalchemy import Connection, delete, insert, select

from limen.core.changes import SecretFact
from limen.core.errors import Invalid, NotFound
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.store.ports import Writing
from limen.store.sealing import Sealer, secret_context
from limen.store.tables import app_secret, projection

VALUE_LENGTH_MAX = 8192  # characters; a header or a form field is never longer

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")


class SecretInfo(msgspec.Struct, frozen=True):
    """That a secret exists: who set it, when. Never the value."""

    name: str
    set_at: Instant
    actor: str


def set_secret(tx: Writing, name: str, value: Secret[str], sealer: Sealer, *, gateway: bool) -> None:
    """Store a secret, replacing the one of this name.

    Raises:
        Invalid: a name that is no DNS label, or an empty, over-long or multi-line value.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(f"The secret's name {name[:80]!r} is not a DNS label.", remedy="Use a–z, 0–9 and dash.")
    plain = value.reveal()
    if not plain or len(plain) > VALUE_LENGTH_MAX or any(ord(c) < 32 or ord(c) == 127 for c in plain):
        raise Invalid(
            f"The value of {name} is empty, too long, or holds control characters.",
            remedy=f"Give one line of at most {VALUE_LENGTH_MAX} characters.",
        )
    sealed = sealer.seal(value, secret_context(name))
    tx.connection.execute(delete(app_secret).where(app_secret.c.name == name))
    row = {"name": name, "value_sealed": sealed, "set_at": tx.now, "actor": tx.actor}
    tx.connection.execute(insert(app_secret).values(row))
    if gateway:
        tx.change("secret", name, SecretFact(name, sealed))
    elif name in _published(tx):
        tx.change("secret", name, None)


def delete_secret(tx: Writing, name: str) -> None:
    """Forget a secret.

    Raises:
        NotFound: there is none of this name.
    """
    if tx.connection.execute(delete(app_secret).where(app_secret.c.name == name)).rowcount == 0:
        raise _no_secret(name)
    if name in _published(tx):
        tx.change("secret", name, None)


def list_secrets(connection: Connection) -> tuple[SecretInfo, ...]:
    """Return every secret by name."""
    rows = connection.execute(
        select(app_secret.c.name, app_secret.c.set_at, app_secret.c.actor).order_by(app_secret.c.name)
    )
    return tuple(SecretInfo(*row) for row in rows)


def load_secret(connection: Connection, name: str, sealer: Sealer) -> Secret[str]:
    """Return the value, for control's own use.

    Raises:
        NotFound: there is none of this name.
        Invalid: it does not open with this key.
    """
    sealed = connection.scalar(select(app_secret.c.value_sealed).where(app_secret.c.name == name))
    if sealed is None:
        raise _no_secret(name)
    return sealer.open(sealed, secret_context(name))


def publish_secrets(tx: Writing, names: frozenset[str]) -> None:
    """Let gateways have exactly `names`, those that the bundle being applied injects.

    Names that have no secret yet are skipped: `set_secret` publishes them when they are set.
    """
    published = _published(tx)
    for name in sorted(published - names):
        tx.change("secret", name, None)
    rows = tx.connection.execute(select(app_secret.c.name, app_secret.c.value_sealed)).all()
    for name, sealed in rows:
        if name in names and name not in published:
            tx.change("secret", name, SecretFact(name, sealed))


def _published(tx: Writing) -> frozenset[str]:
    """Return what gateways have, or will have when this transaction commits."""
    there = frozenset(tx.connection.scalars(select(projection.c.id).where(projection.c.kind == "secret")))
    now = tx.recorded("secret")
    gone = {name for name, value in now.items() if value is None}
    return there.union(now) - gone


def _no_secret(name: str) -> NotFound:
    return NotFound(f"There is no secret {name[:80]!r}.", remedy="See `limen secret list`.")
