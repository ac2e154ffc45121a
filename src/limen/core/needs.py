"""What signing in again can achieve: one table, for whoever finds, asks for, shows or checks it.

The engine names these as remedies, gateways and the admin API ask for them, the console's step-up page brings
them, and `limen connect` says them in the terminal.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

SECOND_FACTOR: Final = "second-factor"
PASSKEY: Final = "passkey"
HARDWARE_KEY: Final = "hardware-key"
FRESH_SIGN_IN: Final = "fresh-sign-in"


class AuthNeed(msgspec.Struct, frozen=True):
    """One thing that a session can lack and a person can bring.

    Attributes:
        cure: what to do, in one sentence.
        button: what leads there on a page that denies.
        title: heading of the page that asks for it.
        asked: what that page says.
        add: what a person without it is offered there.
        acr: how a step-up challenge (RFC 9470) and a client (OIDC Core 3.1.2.1) call it; empty: by an age.
    """

    id: str
    cure: str
    button: str
    title: str
    asked: str
    add: str
    acr: str = ""


_TABLE = (
    AuthNeed(
        HARDWARE_KEY,
        cure="Sign in with a hardware security key of a model that your organisation has listed.",
        button="Use a hardware key",
        title="Show your hardware key",
        asked="Confirm with a hardware security key to go on.",
        add="Add a hardware key",
        acr="phrh",  # OpenID EAP ACR Values 1.0: phishing-resistant, key in hardware
    ),
    AuthNeed(
        PASSKEY,
        cure="Sign in with a passkey.",
        button="Use a passkey",
        title="Show your passkey",
        asked="Confirm with a passkey to go on.",
        add="Add a passkey",
        acr="phr",  # OpenID EAP ACR Values 1.0: phishing-resistant
    ),
    AuthNeed(
        SECOND_FACTOR,
        cure="Sign in with a second factor.",
        button="Use a second factor",
        title="Add a second factor",
        asked="Confirm with your second factor to go on.",
        add="Add a second factor",
        acr="http://schemas.openid.net/pape/policies/2007/06/multi-factor",  # OpenID PAPE
    ),
    AuthNeed(
        FRESH_SIGN_IN,
        cure="Sign in again: your last sign-in is too long ago.",
        button="Sign in again",
        title="Confirm it is you",
        asked="Sign in once more to go on: it has been a while.",
        add="Add a second factor",
    ),
)

NEEDS: Mapping[str, AuthNeed] = {need.id: need for need in _TABLE}
"""By id, the strongest first: it achieves the weaker ones with it."""


def cured_by_sign_in(ids: Iterable[str]) -> str:
    """Return the one need that achieves all these remedies; empty for none, or with another among them."""
    asked = frozenset(ids)
    return next((need for need in NEEDS if need in asked), "") if asked <= NEEDS.keys() else ""
