"""The tour's software passkey holds against the real verifier, and only for the site it was made for."""

import json

import pytest

from limen.core.errors import Refused
from limen.core.identity_config import PasskeyConfig
from limen.information.identity.passkeys import (
    RelyingParty,
    authentication_options,
    parse_assertion,
    registration_options,
    verify_assertion,
    verify_registration,
)
from limen.services.demo.authenticator import SoftwarePasskey

SITE = RelyingParty(id="limen.localhost", origin="https://auth.limen.localhost:8443", name="Limen")


def enrolled() -> tuple[SoftwarePasskey, bytes]:
    passkey = SoftwarePasskey()
    asked = registration_options(
        SITE, PasskeyConfig(), handle=b"h" * 32, username="grace", name="Grace", existing=()
    )
    made = passkey.create(asked.options, SITE.origin)
    new = verify_registration(SITE, json.dumps(made), asked.challenge, PasskeyConfig())
    return passkey, new.public_key


def test_it_can_be_enrolled_and_used_again_and_again() -> None:
    passkey, public_key = enrolled()
    count = 0
    for _ in range(2):
        asked = authentication_options(SITE)
        given = parse_assertion(json.dumps(passkey.get(asked.options, SITE.origin)))
        used = verify_assertion(
            SITE, given, challenge=asked.challenge, public_key=public_key, sign_count=count
        )
        assert given.user_handle == b"h" * 32
        assert used.sign_count == count + 1
        count = used.sign_count


def test_used_at_another_origin_it_is_refused() -> None:
    passkey, public_key = enrolled()
    asked = authentication_options(SITE)
    given = parse_assertion(json.dumps(passkey.get(asked.options, "https://wiki.limen.localhost:8443")))
    with pytest.raises(Refused):
        verify_assertion(SITE, given, challenge=asked.challenge, public_key=public_key, sign_count=0)


def test_it_does_not_answer_another_site() -> None:
    passkey, _ = enrolled()
    other = RelyingParty(id="elsewhere.example", origin="https://elsewhere.example", name="Elsewhere")
    with pytest.raises(Refused, match="did not ask"):
        passkey.get(authentication_options(other).options, other.origin)
