"""The people one can be in the demo. Their passwords and TOTP seeds are made per state folder and shown."""

import os
import secrets
from pathlib import Path

import msgspec

from limen.core.entities import Kind
from limen.core.secret import Secret
from limen.information.identity import totp

PASSWORD_GROUPS = 4
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is mistaken for something else


class Role(msgspec.Struct, frozen=True):
    """Who somebody is, whatever their password."""

    username: str
    name: str
    groups: tuple[str, ...]
    kind: Kind = Kind.EMPLOYEE
    title: str = ""


ROLES = (
    Role("ada", "Ada Byron", ("staff", "engineers"), title="writes the wiki, uses the tool"),
    Role("grace", "Grace Murray", ("staff", "hr"), title="may open payroll, once she has a passkey"),
    Role("joan", "Joan Clarke", ("staff", "limen-admins"), title="administers the tool, and Limen"),
    Role("linus", "Linus Tor", ("contractors",), Kind.CONTRACTOR, "reads the wiki, and that is all"),
)


class DemoPerson(msgspec.Struct, frozen=True):
    """Somebody to be. These secrets are for showing: they guard made-up data on this machine."""

    role: Role
    password: Secret[str]
    totp_seed: Secret[str]

    def shown(self) -> dict[str, object]:
        """Return what the ready file says of them."""
        return {
            "username": self.role.username,
            "password": self.password.reveal(),
            "totp_secret": self.totp_seed.reveal(),
            "groups": list(self.role.groups),
        }


class _Kept(msgspec.Struct, frozen=True):
    password: str
    totp_secret: str


def people_file(state: Path) -> Path:
    """Return where a demo's state folder keeps who one can be."""
    return state / "people.json"


def load_people(file: Path) -> tuple[DemoPerson, ...]:
    """Return the people of a state folder, making and keeping their secrets if `file` is not there."""
    if not file.exists():
        made = {role.username: _Kept(_new_password(), totp.new_seed().reveal()) for role in ROLES}
        _write_private(file, msgspec.json.format(msgspec.json.encode(made), indent=2))
    kept = msgspec.json.decode(file.read_bytes(), type=dict[str, _Kept])
    return tuple(
        DemoPerson(role, Secret(kept[role.username].password), Secret(kept[role.username].totp_secret))
        for role in ROLES
    )


def _new_password() -> str:
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(PASSWORD_GROUPS))
    return "-".join(groups)


def _write_private(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        target.write(content)
    fresh.rename(file)
