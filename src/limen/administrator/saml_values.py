"""The values that signing in to apps by SAML hands around."""

import msgspec

from limen.administrator.authority import Answer
from limen.administrator.saml_post import Dispatch
from limen.administrator.session_values import Over
from limen.administrator.step_up import Need
from limen.core.client_config import ClientConfig
from limen.core.ids import Instant
from limen.information.identity.saml_request import SignInAsked


class Waiting(msgspec.Struct, frozen=True):
    """An app's request, laid aside."""

    client: str
    asked: SignInAsked
    relay_state: str
    at: Instant


class SignInFirst(msgspec.Struct, frozen=True):
    """Nobody is signed in in this browser."""


class StepUpFirst(msgspec.Struct, frozen=True):
    """The session lacks what the app asks for."""

    need: Need


class Denied(msgspec.Struct, frozen=True):
    """Policy says no. `decided` can be explained."""

    client: ClientConfig
    decided: Answer


Outcome = SignInFirst | StepUpFirst | Denied | Dispatch | Over
"""What a request comes to in a browser."""
