"""What the parts of the authorization server hand to each other."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from limen.core.errors import LimenError


class TokenRequest(msgspec.Struct, frozen=True):
    """A request to an endpoint that programs call, parsed and not believed.

    Attributes:
        url: of the endpoint as its callers write it: what proofs and assertions name.
        form: its parameters; one that is sent twice was refused already (RFC 6749 section 3.2).
        authorization, dpop: these headers; empty when not sent.
        x5t: SHA-256 of the client certificate that Envoy verified (base64url, RFC 8705); empty for none.
        san_uris: the URI names of that certificate.
        ip: where it comes from.
    """

    url: str
    form: Mapping[str, str]
    authorization: str = ""
    dpop: str = ""
    method: str = "POST"
    x5t: str = ""
    san_uris: tuple[str, ...] = ()
    ip: str = ""


class OAuthRefused(LimenError):
    """An error answer of RFC 6749 section 5.2 and its extensions.

    Attributes:
        error: the code for the client: `invalid_grant`.
        status: of HTTP.
        headers: more headers of the answer: `WWW-Authenticate`, `DPoP-Nonce`.

    `message` is what the client is told; why exactly is for the journal.
    """

    code = "OAUTH_REFUSED"

    def __init__(
        self, error: str, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, remedy="")
        self.error = error
        self.status = status
        self.headers = dict(headers or {})


Grant = Callable[[TokenRequest], Mapping[str, Any]]
"""Answers one `grant_type` with the JSON of its token response, or raises `OAuthRefused`."""
