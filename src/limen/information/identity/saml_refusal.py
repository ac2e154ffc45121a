"""The one error of SAML messages, which says to the operator what it keeps from the stranger."""

from limen.core.errors import Refused


class SamlRefused(Refused):
    """A SAML message does not hold.

    Attributes:
        why: for the journal, to follow "the message was refused:"; it holds nothing of the message.
    """

    code = "SAML_REFUSED"

    def __init__(self, why: str) -> None:
        super().__init__(
            "This sign-in message was not accepted.",
            remedy="Start again from the app or the sign-in page; tell an administrator if it happens again.",
        )
        self.why = why
