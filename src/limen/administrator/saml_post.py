"""A SAML message on its way through a browser: a redirect signed beside, or a form signed inside."""

import base64
from collections.abc import Mapping
from functools import partial

import msgspec

from limen.administrator.saml_keys import SamlKey
from limen.core.saml_xml import REDIRECT
from limen.information.identity.saml_bindings import render_redirect, sign_octets
from limen.information.identity.saml_sign import sign_message


class Dispatch(msgspec.Struct, frozen=True):
    """Where the browser goes. With `fields` it posts them there; without it is redirected."""

    url: str
    fields: Mapping[str, str] = {}


def dispatch(binding: str, url: str, kind: str, message: str, *, relay_state: str, key: SamlKey) -> Dispatch:
    """Return how a message of ours reaches `url`, signed.

    Args:
        binding: `saml_xml.REDIRECT` or `POST`.
        url: of the other side, from its metadata.
        kind: `SAMLRequest` or `SAMLResponse`.
        message: XML, without a signature.
        relay_state: goes along; empty for none.
        key: that signs.

    Raises:
        Unavailable: xmlsec1 is not installed; a redirect does not need it.
    """
    if binding == REDIRECT:
        private = key.private_pem.reveal()
        return Dispatch(render_redirect(url, kind, message, relay_state, partial(sign_octets, private)))
    return post(url, kind, sign_message(message, key.certificate, key.private_pem.reveal()), relay_state)


def post(url: str, kind: str, signed: str, relay_state: str) -> Dispatch:
    """Return a signed message as a form."""
    fields = {kind: base64.b64encode(signed.encode()).decode()}
    return Dispatch(url, {**fields, "RelayState": relay_state} if relay_state else fields)
