"""How notices leave: by SMTP, or as a signed webhook. Both block, and are called in a thread of their own.

Laws:
    S1 nothing in clear on a network: TLS is demanded, chain and name verified; without, only this machine.
    S2 one recipient, one text: nothing that a person or a stranger wrote adds a header or a recipient.
    S3 a webhook says who sends it: the receiver verifies `webhook-signature` before it believes a word.

Source: RFC 5321, 5322, 3207 (STARTTLS), 8314 (implicit TLS), 3834 (Auto-Submitted); the Standard Webhooks
specification 1.0 (`v1` signatures: HMAC-SHA256 over id, timestamp and body).
"""

import base64
import binascii
import contextlib
import hmac
import re
import smtplib
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Protocol

import httpx
import msgspec

from limen.administrator.notice_words import Words
from limen.administrator.notices import Told
from limen.core.errors import Invalid, LimenError
from limen.core.identity_config import SmtpConfig, WebhookConfig
from limen.core.ids import Instant
from limen.core.secret import Secret

TIMEOUT_S = 15.0  # of one step; a pass waits for no dead server longer than for one step of one notice
SECRET_MIN_BYTES = 24  # Standard Webhooks: 24 to 64 random bytes
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PERMANENT = range(500, 600)  # RFC 5321 4.2.1: do not send this again

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")

SecretOf = Callable[[str], Secret[str]]


class Away(LimenError):
    """The server is not there, or does not want anything now: the channel waits."""

    code = "NOTICE_CHANNEL_AWAY"


class NotTaken(LimenError):
    """This one is not taken, now or ever; others may be."""

    code = "NOTICE_NOT_TAKEN"


class Outgoing(msgspec.Struct, frozen=True):
    """A notice that is about to leave."""

    id: str
    kind: str
    told: Told
    words: Words
    domain: str
    at: Instant  # of its queueing


class Sender(Protocol):
    """Sends one notice. Raises Away or NotTaken."""

    def send(self, notice: Outgoing) -> None:
        """Return once it was taken."""

    def close(self) -> None:
        """Let go of the connection."""


class SmtpSender:
    """Mail, on one connection for as long as it lives."""

    def __init__(self, config: SmtpConfig, secret: SecretOf) -> None:
        self._config, self._secret = config, secret
        self._smtp: smtplib.SMTP | None = None

    def send(self, notice: Outgoing) -> None:
        """Send one mail."""
        message = render_mail(notice, self._config.sender)
        recipient = parse_recipient(notice.told.email)
        try:
            smtp = self._connected()
            smtp.send_message(message, self._config.sender, [recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            said = f"{self._config.host} does not take the recipient: {code}."
            raise (NotTaken if code in PERMANENT else Away)(said) from error
        except smtplib.SMTPResponseException as error:
            self.close()
            refused = isinstance(error, smtplib.SMTPDataError) and error.smtp_code in PERMANENT
            said = f"{self._config.host} answers {error.smtp_code}."
            raise (NotTaken if refused else Away)(said) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            self.close()
            raise Away(f"{self._config.host}: {type(error).__name__}.", remedy=_cure(error)) from error

    def _connected(self) -> smtplib.SMTP:
        if self._smtp is not None:
            return self._smtp
        config = self._config
        context = ssl.create_default_context(cadata=config.ca_pem)
        if config.tls == "none" and config.host not in LOOPBACK:
            raise Away(f"{config.host} is spoken to over TLS alone.", remedy="Set notices.smtp.tls.")
        if config.tls == "implicit":
            self._smtp = smtplib.SMTP_SSL(config.host, config.port, timeout=TIMEOUT_S, context=context)
        else:
            self._smtp = smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S)
            if config.tls == "starttls":
                self._smtp.starttls(context=context)  # raises where the server, or who is between, has none
        if config.secret is not None:
            self._smtp.login(config.user, self._secret(config.secret).reveal())
        return self._smtp

    def close(self) -> None:
        """Let go of the connection."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()


class WebhookSender:
    """JSON by POST, signed."""

    def __init__(
        self, config: WebhookConfig, secret: SecretOf, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._config = config
        self._key = webhook_key(secret(config.secret))
        verify = ssl.create_default_context(cadata=config.ca_pem)
        self._http = httpx.Client(
            verify=verify, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, transport=transport
        )

    def send(self, notice: Outgoing) -> None:
        """Post one notice."""
        body = render_webhook(notice)
        headers = {"content-type": "application/json", **sign_webhook(self._key, notice.id, now(), body)}
        host = httpx.URL(self._config.url).host
        try:
            with self._http.stream("POST", self._config.url, content=body, headers=headers) as answer:
                status = answer.status_code  # its body is nobody's concern, however long
        except httpx.HTTPError as error:
            raise Away(f"{host}: {type(error).__name__}.") from error
        if status in (400, 413, 422):
            raise NotTaken(f"{host} refuses the content: {status}.")
        if not 200 <= status < 300:
            raise Away(f"{host} answers {status}.")

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()


def parse_recipient(email: str) -> str:
    """Return an address that is exactly one mailbox, its domain in ASCII (law S2).

    Raises:
        NotTaken: it is not.
    """
    local, _, domain = email.rpartition("@")
    try:
        plain = domain.encode("idna").decode().lower()
    except UnicodeError:
        plain = ""
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(plain) or len(email) > 254:
        raise NotTaken("The person's address cannot be mailed.", remedy="Correct it: limen user set --email.")
    return f"{local}@{plain}"


def render_mail(notice: Outgoing, sender: str) -> EmailMessage:
    """Return a mail (law S2: the policy of `email` refuses a header with a line break in it)."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = parse_recipient(notice.told.email)
    message["Subject"] = notice.words.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
    message["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    end = f"-- \nLimen at {notice.domain}. Nobody reads answers to this address."
    message.set_content("\n\n".join((*notice.words.lines, end)) + "\n", charset="utf-8")
    return message


def render_webhook(notice: Outgoing) -> bytes:
    """Return the body of a webhook."""
    told = notice.told
    data = {
        "to": {"username": told.username, "name": told.name, "email": told.email},
        "subject": notice.words.subject,
        "text": "\n\n".join(notice.words.lines),
        "facts": told.facts,
        "domain": notice.domain,
    }
    stamp = datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": f"notice.{notice.kind}", "timestamp": stamp, "data": data})


def webhook_key(secret: Secret[str]) -> bytes:
    """Return the key of a stored secret: `whsec_` and base64, or the text itself.

    Raises:
        Invalid: too short to sign with.
    """
    text = secret.reveal()
    try:
        key = base64.b64decode(text[6:], validate=True) if text.startswith("whsec_") else text.encode()
    except binascii.Error:
        key = b""
    if len(key) < SECRET_MIN_BYTES:
        raise Invalid(
            f"notices.webhook.secret: the stored secret has fewer than {SECRET_MIN_BYTES} bytes.",
            remedy="Store a long random one: limen secret set NAME.",
            code="WEBHOOK_SECRET_SHORT",
        )
    return key


def sign_webhook(key: bytes, notice: str, at: Instant, body: bytes) -> Mapping[str, str]:
    """Return the headers that say who sends (law S3). The id is the same at each attempt."""
    stamp = str(int(at))
    signed = f"{notice}.{stamp}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {"webhook-id": notice, "webhook-timestamp": stamp, "webhook-signature": f"v1,{digest}"}


def now() -> Instant:
    """Return the instant that a signature bears: of sending, by this machine's clock."""
    return datetime.now(UTC).timestamp()


def _cure(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "Check notices.smtp.ca and the server's certificate."
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "The server offers no STARTTLS or no login there: check notices.smtp.port and tls."
    return "Check notices.smtp.host and port."
