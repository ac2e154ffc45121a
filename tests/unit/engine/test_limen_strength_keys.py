"""`passkeys:`, `recovery:` and `notices:` of limen.yaml: what they mean, and what they refuse."""

import pytest

from limen.core.errors import BundleRefused
from limen.core.identity_config import (
    NoticeConfig,
    PasskeyConfig,
    RecoveryConfig,
    SmtpConfig,
    SourcesConfig,
    WebhookConfig,
)
from limen.engine.bundle import parse_bundle

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY_5 = "cb69481e-8ff7-4039-93ec-0a2729a154a8"
BIO = "d8522d9f-575b-4866-88a9-ba99fa02f35b"


def _read(text: str) -> SourcesConfig:
    return parse_bundle({"limen.yaml": f"domain: corp.example\n{text}", "roots.pem": PEM}).catalogue.sources


def _wrong(text: str) -> str:
    with pytest.raises(BundleRefused) as caught:
        _read(text)
    return " ".join(str(finding) for finding in caught.value.findings)


def test_without_a_word_anything_counts_and_nobody_is_told() -> None:
    found = _read("")
    assert (found.passkeys, found.recovery, found.notices) == (
        PasskeyConfig(),
        RecoveryConfig(),
        NoticeConfig(),
    )


def test_all_of_it_is_read() -> None:
    found = _read(
        f"""
passkeys:
  allow: [{KEY_5.upper()}, {BIO}]
  attestation: direct
  roots: roots.pem
  hardware: [{KEY_5}]
recovery: {{lowered: 3d, alone: false}}
notices:
  smtp:
    {{host: mail.corp.example, from: limen@corp.example, tls: implicit, user: limen, secret: mail-password}}
  webhook: {{url: "https://hooks.corp.example/limen?team=it", secret: hook, ca: roots.pem}}
  expiry_days: 7
"""
    )
    assert found.passkeys == PasskeyConfig((KEY_5, BIO), "direct", PEM, (KEY_5,))
    assert found.recovery == RecoveryConfig(259_200.0, alone=False)
    smtp = SmtpConfig(
        "mail.corp.example", "limen@corp.example", 465, user="limen", secret="mail-password", tls="implicit"
    )
    hook = WebhookConfig("https://hooks.corp.example/limen?team=it", "hook", PEM)
    assert found.notices == NoticeConfig(smtp, hook, 7)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"passkeys: {{allow: [{KEY_5}]}}", "asks a passkey what it would like to be"),
        ("passkeys: {attestation: direct}", "`attestation` has no `roots`"),
        (f"passkeys: {{hardware: [{KEY_5}]}}", "`hardware` has no `roots`"),
        (f"passkeys: {{allow: [{BIO}], attestation: direct, roots: roots.pem, hardware: [{KEY_5}]}}",
         "which `allow`"),
        ("passkeys: {allow: [00000000-0000-0000-0000-000000000000]}", "names no model"),
        ("passkeys: {allow: [yubikey]}", "32 hexadecimal digits"),
        ("recovery: {lowered: 91d}", "at most 90d"),
        ("recovery: {approvers: [helpdesk]}", "approvers"),
        ("notices: {smtp: {host: mail.corp.example, from: limen@corp.example, tls: none}}", "in clear"),
        ("notices: {smtp: {host: localhost, from: limen@corp.example, user: limen}}", "has no `secret`"),
        ("notices: {smtp: {host: localhost, from: 'Limen <limen@corp.example>'}}", "bare address"),
        ("notices: {webhook: {url: 'http://hooks.corp.example/', secret: hook}}", "https://"),
        ("notices: {webhook: {url: 'https://u:p@hooks.corp.example/', secret: hook}}", "Leave out user"),
        ("notices: {webhook: {url: 'https://hooks.corp.example/'}}", "secret"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_a_remedy(text: str, says: str) -> None:
    assert says in _wrong(text)
