"""What a real browser's attestation proves: Chromium 156, virtual authenticator, `attestation: direct`."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from passkey_maker import Maker
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, parse_attestation_object

from limen.core.errors import Refused
from limen.core.identity_config import PasskeyConfig
from limen.information.identity import passkeys
from limen.information.identity.assurance import HARDWARE, PASSKEY, PASSWORD, TOTP, Assurance, assess_methods
from limen.information.identity.recovery import hash_spoken, spoken_code

MODEL = "01020304-0506-0708-0102-030405060708"
CHALLENGE = bytes_to_base64url(bytes([7] * 32))
FILE = Path(__file__).parents[2] / "kit" / "chromium_passkey.json"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@pytest.fixture(scope="module")
def root(made: dict[str, Any]) -> str:
    """Chromium's batch certificate has signed itself: it is its own root."""
    whole = base64url_to_bytes(made["credential"]["response"]["attestationObject"])
    leaf = (parse_attestation_object(whole).att_stmt.x5c or [b""])[0]
    return x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM).decode()


def _verify(made: dict[str, Any], **rules: Any) -> passkeys.NewPasskey:
    party = passkeys.RelyingParty("localhost", made["origin"])
    credential = json.dumps(made["credential"])
    return passkeys.verify_registration(party, credential, CHALLENGE, PasskeyConfig(**rules))


def test_a1_without_a_root_nothing_is_proven(made: dict[str, Any]) -> None:
    found = _verify(made, hardware=(MODEL,))
    assert (found.aaguid, found.attested, found.bound) == (MODEL, False, False)


def test_with_its_root_a_real_browsers_model_is_proven(made: dict[str, Any], root: str) -> None:
    found = _verify(made, attestation="direct", roots_pem=root, allow=(MODEL,))
    assert (found.attested, found.bound) == (True, True)


def test_with_another_root_it_is_refused(made: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        _verify(made, attestation="direct", roots_pem=Maker().pem)
    assert refused.value.code == "PASSKEY_UNPROVEN"


def test_hardware_alone_is_worth_nothing_and_a_passkey_alone_never_three() -> None:
    assert assess_methods((HARDWARE,)) == Assurance()
    assert assess_methods((PASSKEY,)).aal == 2
    assert assess_methods((PASSWORD, TOTP, HARDWARE)).aal == 2
    assert assess_methods((PASSKEY, HARDWARE)) == Assurance(3, phishing_resistant=True)


def test_what_is_read_out_is_understood_as_it_is_heard() -> None:
    key = b"k" * 32
    spoken = spoken_code(key, "rcv_1")
    assert len(spoken) == 9 and spoken[4] == "-"
    heard = f" {spoken.upper().replace('-', ' ').replace('0', 'O').replace('1', 'l')} "
    assert hash_spoken(key, heard) == hash_spoken(key, spoken)
    assert spoken_code(key, "rcv_2") != spoken
