"""`passkeys:`, `recovery:` and `notices:` of `limen.yaml`."""

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from limen.core.identity_config import (
    NoticeConfig,
    PasskeyConfig,
    RecoveryConfig,
    SmtpConfig,
    WebhookConfig,
)
from limen.engine import rules
from limen.engine.forms import Choice, Duration, Flag, Key, Many, Rule, Table, Text, Whole
from limen.engine.named_files import NamedFiles

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LOWERED_MAX_S = 90 * 86_400

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


def _aaguid(text: str) -> str:
    try:
        found = str(uuid.UUID(text))
    except ValueError:
        raise ValueError("It is 32 hexadecimal digits with hyphens, as the maker publishes it.") from None
    if found == str(uuid.UUID(int=0)):
        raise ValueError("All zeros is what a passkey says that names no model.")
    return found


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("Write the bare address, name@domain.")
    return text


def _mail_host(text: str) -> str:
    return text if text in LOOPBACK else rules.HOST.check(text)


def _webhook(text: str) -> str:
    parts = urlsplit(text)
    if any(character <= " " or character == "\x7f" for character in text) or not parts.hostname:
        raise ValueError("It is an address, without spaces.")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("It starts with https://; only this machine is spoken to without.")
    if parts.username is not None or parts.fragment:
        raise ValueError("Leave out user and fragment: the signature says who sends.")
    return text


AAGUID = Rule(
    'an AAGUID, such as "cb69481e-8ff7-4039-93ec-0a2729a154a8"', _aaguid, "^[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27}$"
)
EMAIL = Rule('an address, such as "limen@corp.example"', _email, "^[^@\\s]+@[^@\\s]+$")
MAIL_HOST = Rule('a host name, such as "mail.corp.example"', _mail_host)
WEBHOOK = Rule('an address, such as "https://hooks.corp.example/limen"', _webhook, "^https?://")

_PASSKEYS: Mapping[str, Key] = {
    "allow": Key(Many(Text(AAGUID)), "Models that count, by AAGUID; needs `attestation: direct`.", "any"),
    "attestation": Key(
        Choice(("none", "direct")), "`direct` refuses a passkey that does not prove its model.", "none"
    ),
    "roots": Key(
        Text(rules.PEM_FILE), "Makers' certificates that may sign attestations, a file of the bundle.", "none"
    ),
    "hardware": Key(
        Many(Text(AAGUID)), "Models whose keys cannot leave their device: worth AAL 3; needs `roots`.", "none"
    ),
}

_RECOVERY: Mapping[str, Key] = {
    "lowered": Key(Duration(), "How long `recovered` is in `context.signals` afterwards.", "7d"),
    "alone": Key(
        Flag(),
        "Two different things recover without another person's approval. Who may approve, policies say: "
        '`admin` on `Route::"limen/recovery"`.',
        "true",
    ),
}

_SMTP = Table(
    {
        "host": Key(Text(MAIL_HOST), "The mail server.", required=True),
        "from": Key(Text(EMAIL), "The sender's address.", required=True),
        "port": Key(Whole(1, 65_535), "Its port.", "587, or 465 with `tls: implicit`"),
        "user": Key(Text(rules.WORD), "Whom to log in as.", "nobody: no login"),
        "secret": Key(Text(rules.SECRET_NAME), "The stored secret that is the password.", "none"),
        "tls": Key(
            Choice(("starttls", "implicit", "none")), "`none` is for a server on this machine.", "starttls"
        ),
        "ca": Key(Text(rules.PEM_FILE), "Certificates that may sign its own.", "the system's"),
    }
)

_WEBHOOK = Table(
    {
        "url": Key(Text(WEBHOOK), "Where notices are posted.", required=True),
        "secret": Key(Text(rules.SECRET_NAME), "The stored secret that signs them.", required=True),
        "ca": Key(Text(rules.PEM_FILE), "Certificates that may sign its own.", "the system's"),
    }
)

STRENGTH: Mapping[str, Key] = {
    "passkeys": Key(Table(_PASSKEYS), "Which passkeys count, and which are worth AAL 3.", "any"),
    "recovery": Key(Table(_RECOVERY), "How somebody who lost their factors comes back.", "see its keys"),
    "notices": Key(
        Table(
            {
                "smtp": Key(_SMTP, "Mail.", "none"),
                "webhook": Key(_WEBHOOK, "A signed webhook.", "none"),
                "expiry_days": Key(Whole(1, 90), "How many days ahead an end is announced.", "14"),
            }
        ),
        "How people are told. With neither, links are shown to the administrator.",
        "none",
    ),
}


def read_passkeys(tree: Mapping[str, Any], named: NamedFiles) -> PasskeyConfig:
    """Return what the table says."""
    found = PasskeyConfig(
        allow=tuple(tree.get("allow", ())),
        attestation=tree.get("attestation", "none"),
        roots_pem=named.pem(tree.get("roots"), ("passkeys", "roots")),
        hardware=tuple(tree.get("hardware", ())),
    )
    remedy = "Name the makers' certificates: `roots: fido-roots.pem`."
    if found.allow and found.attestation != "direct":
        said = "`allow` without `attestation: direct` asks a passkey what it would like to be."
        named.log.wrong(("passkeys", "allow"), said, "Add `attestation: direct`, and `roots`.")
    for key in ("attestation", "hardware"):
        wants = found.attestation == "direct" if key == "attestation" else bool(found.hardware)
        if wants and not tree.get("roots"):
            named.log.wrong(("passkeys", key), f"`{key}` has no `roots` to prove a model by.", remedy)
    strangers = set(found.hardware) - set(found.allow) if found.allow else set()
    if strangers:
        said = f"`hardware` names {min(strangers)}, which `allow` does not."
        named.log.wrong(("passkeys", "hardware"), said, "Add it to `allow`, or take it out here.")
    return found


def read_recovery(tree: Mapping[str, Any], named: NamedFiles) -> RecoveryConfig:
    """Return what the table says."""
    usual = RecoveryConfig()
    lowered_s = float(tree.get("lowered", usual.lowered_s))
    if lowered_s > LOWERED_MAX_S:
        remedy = "Suspend somebody whom you trust less for longer."
        named.log.wrong(("recovery", "lowered"), "`lowered` is at most 90d.", remedy)
    return RecoveryConfig(lowered_s=lowered_s, alone=tree.get("alone", usual.alone))


def read_notices(tree: Mapping[str, Any], named: NamedFiles) -> NoticeConfig:
    """Return what the table says."""
    smtp, webhook = tree.get("smtp"), tree.get("webhook")
    return NoticeConfig(
        smtp=_smtp(smtp, named) if smtp and {"host", "from"} <= smtp.keys() else None,
        webhook=_hook(webhook, named) if webhook and {"url", "secret"} <= webhook.keys() else None,
        expiry_days=tree.get("expiry_days", NoticeConfig().expiry_days),
    )


def _smtp(tree: Mapping[str, Any], named: NamedFiles) -> SmtpConfig:
    path, tls = ("notices", "smtp"), tree.get("tls", "starttls")
    if tls == "none" and tree["host"] not in LOOPBACK:
        said = "`tls: none` would send links in clear across a network."
        named.log.wrong((*path, "tls"), said, "Use starttls or implicit; none is for localhost.")
    if ("user" in tree) != ("secret" in tree):
        lacking = "secret" if "user" in tree else "user"
        key = "user" if "user" in tree else "secret"
        named.log.wrong((*path, key), f"`{key}` has no `{lacking}`.", "A login has both.")
    return SmtpConfig(
        host=tree["host"],
        sender=tree["from"],
        port=tree.get("port", 465 if tls == "implicit" else 587),
        user=tree.get("user", ""),
        secret=tree.get("secret"),
        tls=tls,
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
    )


def _hook(tree: Mapping[str, Any], named: NamedFiles) -> WebhookConfig:
    ca_pem = named.pem(tree.get("ca"), ("notices", "webhook", "ca"))
    return WebhookConfig(url=tree["url"], secret=tree["secret"], ca_pem=ca_pem)
