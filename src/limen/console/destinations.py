"""Where a sign-in leads: parsed once, from the query or the form, into something that cannot lead astray.

Law: O1 no open redirect. A destination is an app of the catalogue and a path on its host, or a path of
the sign-in host. Nothing else can be written as one, so nothing else is ever redirected to.
"""

import re
from collections.abc import Mapping

import msgspec

from limen.administrator.step_up import Need
from limen.core import base64url
from limen.core.catalogue import Catalogue
from limen.core.errors import Invalid
from limen.core.needs import NEEDS

PATH_LENGTH_MAX = 4096  # characters of path and query
MAX_AGE_MIN_S = 30  # a shorter one could not be met by the redirects that follow
MAX_AGE_MAX_S = 31_536_000

_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # printable ASCII, no backslash, one slash first
_NONCE = re.compile(r"[0-9a-f]{64}")


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to go on to. Without `app` it is a path of the sign-in host, by default my apps."""

    app: str = ""
    path: str = "/"
    nonce_hash: str = ""
    need: str = ""
    max_age_s: int | None = None
    since: float | None = None

    @property
    def wanted(self) -> Need | None:
        """What the session must achieve on the way."""
        return Need(self.need, self.max_age_s, self.since) if self.need else None


HOME = Target()


def parse_path(text: str) -> str:
    """Return a path with query that stays on its host.

    Raises:
        Invalid: anything that a browser could read as another host, or that cannot stand in a header.
    """
    if len(text) > PATH_LENGTH_MAX or not _PATH.fullmatch(text):
        raise Invalid("The address to return to is not a path.", remedy="Open the app again.")
    return text


def parse_authorize(query: Mapping[str, str], catalogue: Catalogue) -> Target:
    """Return where `GET /authorize` leads.

    Raises:
        Invalid: an unknown app, a path that is none, or a malformed nonce or need.
    """
    app = query.get("app", "")
    if app not in catalogue.apps:
        raise Invalid("There is no such app here.", remedy="Open the app again, or go to your apps.")
    path, nonce = query.get("return", "/"), query.get("nonce", "")
    if not _NONCE.fullmatch(nonce):
        raise _damaged()
    wanted = parse_need(query.get("need", ""), query.get("max_age", ""))
    return msgspec.structs.replace(wanted, app=app, path=parse_path(path), nonce_hash=nonce)


def parse_need(need: str, age: str) -> Target:
    """Return a destination without a place: only what the session must achieve on the way.

    Raises:
        Invalid: a need or an age that is none.
    """
    if (need and need not in NEEDS) or (age and not _is_age(age)):
        raise _damaged()
    return Target(need=need, max_age_s=max(int(age), MAX_AGE_MIN_S) if age else None)


def parse_flow(text: str, catalogue: Catalogue) -> Target:
    """Return the destination that a form carries. A damaged one leads home: it holds no authority."""
    if not text:
        return HOME
    try:
        raw = base64url.decode(text)
        found = msgspec.json.decode(raw, type=Target)
        if not found.app:
            path = parse_path(found.path)
            wanted = parse_need(_need(found.need), "" if found.max_age_s is None else str(found.max_age_s))
            return msgspec.structs.replace(wanted, path=path, since=found.since)
        query = {"app": found.app, "return": found.path, "nonce": found.nonce_hash, "need": found.need}
        if found.max_age_s is not None:
            query["max_age"] = str(found.max_age_s)
        return parse_authorize(query, catalogue)
    except (ValueError, Invalid):
        return HOME


def render_flow(target: Target) -> str:
    """Return what a form carries of a destination; empty for home."""
    if target == HOME:
        return ""
    return base64url.encode(msgspec.json.encode(target))


def _need(text: str) -> str:
    return text if text in NEEDS else ""


def _damaged() -> Invalid:
    return Invalid("This link to sign-in is damaged.", remedy="Open the app again.")


def _is_age(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_AGE_MAX_S
