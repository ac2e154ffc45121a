"""The values that sign-in and sessions hand to each other."""

import msgspec

from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.assurance import Assurance
from limen.store.sessions import Session


class Browser(msgspec.Struct, frozen=True):
    """Where a sign-in comes from. `mark` is the cookie of a browser that is known, or empty."""

    ip: str
    user_agent: str = ""
    mark: str = ""


class Proof(msgspec.Struct, frozen=True):
    """What a person has shown, and when."""

    methods: tuple[str, ...]
    assurance: Assurance
    auth_at: Instant


class Opened(msgspec.Struct, frozen=True):
    """A session with its new token. The token is told once, to the browser."""

    session: Session
    token: Secret[str]


class Destination(msgspec.Struct, frozen=True):
    """What an exchange code is for."""

    app: str
    return_to: str
    nonce_hash: str
    cure: str = ""


class Visit(msgspec.Struct, frozen=True):
    """A browser in the act of signing in.

    Attributes:
        presented: the live session that this browser has already.
        flow_token: the cookie of a sign-in under way. It is looked up, and never adopted.
        form_id: the random id of the browser's anti-forgery cookie; passkey challenges are bound to it.
    """

    browser: Browser
    presented: Session | None = None
    flow_token: str = ""
    form_id: str = ""


class Wrong(msgspec.Struct, frozen=True):
    """Not signed in. One answer for every reason, so that it tells a stranger nothing."""


class TooMany(msgspec.Struct, frozen=True):
    """Not looked at: too many attempts. The same one is looked at after `wait_s`."""

    wait_s: float


class Over(msgspec.Struct, frozen=True):
    """The sign-in, link or pairing took too long, was finished, or was never begun here."""


class SecondStep(msgspec.Struct, frozen=True):
    """The password was right; one of `methods` has to follow. `token` is the flow's cookie."""

    token: Secret[str]
    methods: frozenset[str]


class SignedIn(msgspec.Struct, frozen=True):
    """Signed in. `mark`: cookie of a known browser, empty where it was not earned."""

    opened: Opened
    mark: str = ""


Answer = Wrong | TooMany | Over | SecondStep | SignedIn
"""What an attempt to sign in comes to."""
