"""Who this person is where: one profile per sign-in host, without its token."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from limen.connect.folders import config_folder, read_private, write_private
from limen.connect.network import HTTPS_PORT, Place
from limen.core.errors import Invalid, NotFound

AUTH_LABEL = "auth."
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})+")
_SERVICE = re.compile(r"(?!-)[a-z0-9-]{1,63}")


class Profile(msgspec.Struct, frozen=True):
    """One sign-in. `kept` is `keyring` or `file`; `ca_source` is where the CA's copy came from."""

    auth_url: str
    person: str
    expires_at: float
    kept: str
    ca_source: str | None = None

    @property
    def place(self) -> Place:
        """The sign-in host."""
        return parse_auth_url(self.auth_url)

    @property
    def name(self) -> str:
        """How files and keyrings call it."""
        return profile_name(self.place)

    @property
    def login_command(self) -> str:
        """What signs in again."""
        return f"limen login {self.auth_url}"

    def service(self, name: str) -> Place:
        """Return where a service is: beside sign-in, on the gateway's port.

        Raises:
            Invalid: this can be no service's name.
        """
        if not _SERVICE.fullmatch(name):
            raise Invalid(f"'{name}' is no name of a service.", remedy="See: limen status")
        return Place(f"{name}.{self.place.host.removeprefix(AUTH_LABEL)}", self.place.port)


def parse_auth_url(text: str) -> Place:
    """Return the sign-in host that a person means: its address, its name, or the bare domain.

    Raises:
        Invalid: it is no https address of a host.
    """
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        host, port = (parts.hostname or "").lower(), parts.port or HTTPS_PORT
    except ValueError:
        host, port = "", 0
    simple = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme != "https" or not simple or not _HOST.fullmatch(host):
        raise Invalid(f"'{text}' is no address of sign-in.", remedy="Write https://auth.corp.example.")
    return Place(host if host.startswith(AUTH_LABEL) else AUTH_LABEL + host, port)


def profile_name(place: Place) -> str:
    """Return a name that is a file's name on every system."""
    return f"{place.host}_{place.port}"


class Profiles:
    """The profiles on this machine."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or config_folder()) / "profiles"

    def save(self, profile: Profile) -> None:
        """Keep one, and make it the current one."""
        write_private(self.folder / f"{profile.name}.json", msgspec.json.encode(profile))
        write_private(self.folder / "current", profile.name.encode())

    def find(self, wanted: str | None) -> Profile:
        """Return the profile of a host, or the one that signed in last.

        Raises:
            NotFound: there is none.
        """
        if wanted is None:
            name = (read_private(self.folder / "current") or b"").decode("ascii", "replace")
        else:
            name = profile_name(parse_auth_url(wanted))
        data = read_private(self.folder / f"{name}.json") if name and "/" not in name else None
        try:
            if data is not None:
                return msgspec.json.decode(data, type=Profile)
        except msgspec.MsgspecError:
            pass
        where = f" at {wanted}" if wanted else ""
        raise NotFound(
            f"You are not logged in{where}.",
            remedy=f"Run: limen login {wanted or 'https://auth.YOUR-DOMAIN'}",
            code="NOT_LOGGED_IN",
        )

    def ca_file(self, place: Place) -> Path:
        """Return where the copy of a profile's own CA is, if it has one."""
        return self.folder / f"{profile_name(place)}.pem"

    def forget(self, profile: Profile) -> None:
        """Remove one, and choose another as current if there is one."""
        (self.folder / f"{profile.name}.json").unlink(missing_ok=True)
        self.ca_file(profile.place).unlink(missing_ok=True)
        (self.folder / "current").unlink(missing_ok=True)
        left = sorted(self.folder.glob("*.json"))
        if left:
            write_private(self.folder / "current", left[0].stem.encode())
