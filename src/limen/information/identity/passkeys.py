"""Passkeys: WebAuthn ceremonies with user verification and discoverable credentials.

Source: W3C Web Authentication Level 3, sections 7.1 and 7.2. Challenges are one-time; the caller
keeps them and destroys them before it verifies.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import webauthn
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from limen.core.errors import Refused
from limen.core.identity_config import PasskeyConfig
from limen.information.identity.attestation import prove_model

ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
CREDENTIAL_MAX_BYTES = 32_000  # JSON of one ceremony; real ones have 1 to 4 kB
CEREMONY_S = 300  # a challenge lives this long
PASSKEYS_MAX = 20  # per person


class RelyingParty(msgspec.Struct, frozen=True):
    """Who asks: the domain that passkeys belong to, and the one origin that may use them."""

    id: str
    origin: str
    name: str = "Limen"


class Ceremony(msgspec.Struct, frozen=True):
    """A challenge to keep, and the options for the browser's `parse…OptionsFromJSON`."""

    challenge: str  # base64url
    options: dict[str, Any]


class NewPasskey(msgspec.Struct, frozen=True):
    """A verified registration.

    Attributes:
        attested: its model was proven by a root of the bundle; without, `aaguid` is what it says of itself.
        bound: attested, and not made to leave its device (backup eligibility, section 6.1.3).
    """

    id: str  # base64url
    public_key: bytes
    sign_count: int
    aaguid: str
    backed_up: bool
    attested: bool = False
    bound: bool = False


class PasskeyUse(msgspec.Struct, frozen=True):
    """A verified assertion. `sign_count` replaces the stored one. `movable`: it may leave its device."""

    id: str
    sign_count: int
    backed_up: bool
    movable: bool = True


class Assertion(msgspec.Struct, frozen=True):
    """An assertion as it came: parsed, and not yet verified."""

    id: str
    user_handle: bytes
    credential: str


def registration_options(
    party: RelyingParty,
    rules: PasskeyConfig,
    *,
    handle: bytes,
    username: str,
    name: str,
    existing: Sequence[str],
) -> Ceremony:
    """Start the making of a passkey; `existing` ones are not made twice on one authenticator.

    Its model is asked for where a rule reads it: browsers tell it only then, and ask the person first.
    """
    wanted = AttestationConveyancePreference
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=handle,
        user_name=username,
        user_display_name=name or username,
        attestation=wanted.DIRECT if rules.roots_pem else wanted.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(i)) for i in existing],
        supported_pub_key_algs=ALGORITHMS,
        timeout=CEREMONY_S * 1000,
    )
    return Ceremony(bytes_to_base64url(options.challenge), json.loads(webauthn.options_to_json(options)))


def verify_registration(
    party: RelyingParty, credential: str, challenge: str, rules: PasskeyConfig
) -> NewPasskey:
    """Return the new passkey.

    Raises:
        Refused: wrong origin, RP id, challenge, no user verification, not well formed, or of a model that
            the rules do not accept.
    """
    try:
        parsed = parse_registration_credential_json(_bounded(credential))
        _refuse_framed(parsed.response.client_data_json)
        found = webauthn.verify_registration_response(
            credential=parsed,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused() from error
    attested = _is_attested(found.attestation_object, found.aaguid, rules)
    if not counts(found.aaguid, rules, attested=attested):
        raise Refused(
            "This model of passkey is not accepted here.",
            remedy="Use one that your organisation accepts.",
            code="PASSKEY_MODEL",
        )
    still = found.credential_device_type is CredentialDeviceType.SINGLE_DEVICE
    return NewPasskey(
        id=bytes_to_base64url(found.credential_id),
        public_key=found.credential_public_key,
        sign_count=found.sign_count,
        aaguid=found.aaguid,
        backed_up=found.credential_backed_up,
        attested=attested,
        bound=attested and still,
    )


def counts(aaguid: str, rules: PasskeyConfig, *, attested: bool) -> bool:
    """Whether the rules accept a passkey: those of today, whenever it was made."""
    if rules.attestation == "direct" and not attested:
        return False
    return not rules.allow or aaguid in rules.allow


def is_hardware(aaguid: str, rules: PasskeyConfig, *, bound: bool) -> bool:
    """Whether its key is proven to stay in hardware: proven bound, and of a model that is listed so."""
    return bound and aaguid in rules.hardware


def _is_attested(attestation_object: bytes, aaguid: str, rules: PasskeyConfig) -> bool:
    """Whether the model was proven; where that is demanded, what is wrong is raised."""
    if rules.roots_pem is None:
        return False
    try:
        return prove_model(attestation_object, aaguid, rules.roots_pem) == aaguid
    except Refused:
        if rules.attestation == "direct":
            raise
        return False


def authentication_options(party: RelyingParty, *, allowed: Sequence[str] = ()) -> Ceremony:
    """Start a sign-in. Without `allowed` the browser offers every passkey that it has for us."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        timeout=CEREMONY_S * 1000,
        allow_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(i)) for i in allowed] or None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return Ceremony(bytes_to_base64url(options.challenge), json.loads(webauthn.options_to_json(options)))


def parse_assertion(credential: str) -> Assertion:
    """Read which passkey an assertion claims to be from, so that its public key can be found.

    Raises:
        Refused: not well formed, or without user handle (then it is not discoverable).
    """
    try:
        parsed = parse_authentication_credential_json(_bounded(credential))
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused() from error
    if not parsed.response.user_handle:
        raise _refused()
    return Assertion(id=parsed.id, user_handle=parsed.response.user_handle, credential=credential)


def verify_assertion(
    party: RelyingParty, assertion: Assertion, *, challenge: str, public_key: bytes, sign_count: int
) -> PasskeyUse:
    """Return the use of a passkey.

    Raises:
        Refused: wrong origin, RP id, challenge, signature, a counter that did not grow, or no user
            verification.
    """
    try:
        parsed = parse_authentication_credential_json(assertion.credential)
        _refuse_framed(parsed.response.client_data_json)
        found = webauthn.verify_authentication_response(
            credential=parsed,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused() from error
    movable = found.credential_device_type is not CredentialDeviceType.SINGLE_DEVICE
    return PasskeyUse(assertion.id, found.new_sign_count, found.credential_backed_up, movable)


def claimed_challenge(credential: str) -> str:
    """Return the challenge that a credential says it answers; empty if it is not readable."""
    try:
        sent = json.loads(credential)["response"]["clientDataJSON"]
        claimed = json.loads(base64url_to_bytes(sent))["challenge"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return claimed if isinstance(claimed, str) else ""


def _refuse_framed(client_data: bytes) -> None:
    """Our pages are never framed, so a ceremony in a foreign frame is not ours (section 7.2 step 15)."""
    if parse_client_data_json(client_data).cross_origin:
        raise ValueError("cross-origin ceremony")


def _bounded(credential: str) -> str:
    if len(credential) > CREDENTIAL_MAX_BYTES:
        raise ValueError("credential too long")
    return credential


def _refused() -> Refused:
    return Refused(
        "The passkey was not accepted.", remedy="Try again, or sign in another way.", code="PASSKEY_REFUSED"
    )
