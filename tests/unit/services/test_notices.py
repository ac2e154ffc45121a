"""Notices: queued with what they tell of, sent by SMTP or signed webhook, again until they are taken."""

import base64
import email
import email.policy
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd import smtp
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from recovery_world import HOOK, SECRETS, SMTP, RecoveryWorld

from limen.administrator.notice_words import KINDS, write_notice
from limen.core.errors import Invalid
from limen.core.identity_config import NoticeConfig, SmtpConfig, WebhookConfig
from limen.core.secret import Secret
from limen.services.notice_senders import webhook_key
from limen.store import directory
from limen.store import notices as queue

LINK = "https://auth.limen.localhost:8443/enrol/" + "A" * 43


class Mailbox:
    """What arrived; `refuse` is answered to the next recipients."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuse = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 taken"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecoveryWorld]:
    world = RecoveryWorld(tmp_path)
    yield world
    world.store.close()


class Loopback(Controller):
    """A server on a port of the system's choice."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    controller = Loopback(box, hostname="127.0.0.1", port=0)
    controller.start()
    yield box, controller.port
    controller.stop()


def _queue(
    world: RecoveryWorld, kind: Any = "invitation", person: str = "ada", **facts: Any
) -> tuple[str, ...]:
    with world.parts.desk.ledger.entry("test", "tell") as entry:
        return world.parts.desk.notices.queue(entry, person, kind, **(facts or {"link": LINK}))


def _smtp(world: RecoveryWorld, port: int, **more: Any) -> None:
    world.configure(notices=NoticeConfig(smtp=SmtpConfig("127.0.0.1", "limen@limen.localhost", port, **more)))


def _read(envelope: Any) -> Any:
    return email.message_from_bytes(envelope.content, policy=email.policy.default)


def test_a_mail_arrives_with_its_link_once(world: RecoveryWorld, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    _smtp(world, port, tls="none")
    assert _queue(world) == ("smtp",)
    assert LINK not in world.queued()[0].sealed
    assert [world.pump.send_due(), world.pump.send_due()] == [1, 0]
    mail = _read(box.mails[0])
    assert (box.mails[0].rcpt_tos, mail["From"]) == (["ada@limen.localhost"], "limen@limen.localhost")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert LINK in mail.get_content().splitlines()
    assert world.queued() == []
    assert [event.target for event in world.events if event.kind == "notice.sent"] == ["ada"]


def test_nothing_is_queued_of_a_change_that_was_undone(world: RecoveryWorld) -> None:
    with pytest.raises(RuntimeError), world.parts.desk.ledger.entry("test", "tell") as entry:
        world.parts.desk.notices.queue(entry, "ada", "invitation", link=LINK)
        raise RuntimeError
    assert world.queued() == []


def test_with_neither_configured_nobody_is_told_and_the_caller_knows(world: RecoveryWorld) -> None:
    world.configure(notices=NoticeConfig())
    assert _queue(world) == ()
    assert world.queued() == []


def test_who_has_no_address_is_told_by_webhook_alone(world: RecoveryWorld) -> None:
    with world.store.transaction("test", "no address") as tx:
        directory.update_person(tx, "ada", email="")
    assert _queue(world) == ()
    world.configure(notices=NoticeConfig(smtp=SMTP, webhook=HOOK))
    assert _queue(world) == ("webhook",)


def test_a_later_address_does_not_get_what_was_meant_for_the_earlier(
    world: RecoveryWorld, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    _smtp(world, port, tls="none")
    _queue(world)
    with world.store.transaction("test", "taken over") as tx:
        directory.update_person(tx, "ada", email="mallory@evil.example")
    world.pump.send_due()
    assert box.mails[0].rcpt_tos == ["ada@limen.localhost"]


def test_a_server_that_is_away_is_tried_again_later_and_once_a_pass(
    world: RecoveryWorld, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    box.refuse = "451 later"
    _smtp(world, port, tls="none")
    _queue(world)
    _queue(world, person="hugo")
    assert world.pump.send_due() == 0
    rows = {row.person: row for row in world.queued()}
    assert (rows["ada"].attempts, rows["hugo"].attempts) == (1, 0), "the channel is left alone in this pass"
    assert "451" in rows["ada"].error
    box.refuse = ""
    assert world.pump.send_due() == 1, "hers waits, his does not"
    world.clock.advance(60)
    assert world.pump.send_due() == 1
    assert len(box.mails) == 2


def test_a_recipient_who_is_refused_for_good_is_given_up_and_others_are_sent(
    world: RecoveryWorld, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    _smtp(world, port, tls="none")
    with world.store.transaction("test", "an odd address") as tx:
        directory.update_person(tx, "ada", email="ada,root@limen.localhost")
    _queue(world)
    _queue(world, person="hugo")
    assert world.pump.send_due() == 1
    gone = next(event for event in world.events if event.kind == "notice.undelivered")
    assert (gone.target, "cannot be mailed" in gone.data["why"]) == ("ada", True)
    box.refuse = "550 nobody of that name"
    _queue(world, person="root")
    world.pump.send_due()
    assert world.queued() == []


def test_what_is_worthless_is_given_up(world: RecoveryWorld, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    _smtp(world, port, tls="none")
    with world.parts.desk.ledger.entry("test", "tell") as entry:
        until = entry.tx.now + 600
        world.parts.desk.notices.queue(entry, "ada", "invitation", until=until, link=LINK)
    world.clock.advance(601)
    assert world.pump.send_due() == 0
    assert (box.mails, world.queued()) == ([], [])
    assert "notice.undelivered" in world.kinds()


def test_of_two_nodes_one_sends(world: RecoveryWorld) -> None:
    _queue(world)
    row = world.queued()[0]
    with world.store.transaction("test", "claim") as tx:
        taken = [queue.claim(tx.connection, row, tx.now + 120) for _ in range(2)]
    assert taken == [True, False]
    assert world.pump.send_due() == 0
    assert world.queued()[0].attempts == 1


def test_the_erased_are_told_nothing(world: RecoveryWorld) -> None:
    from limen.store.erasure import forget_person

    _queue(world)
    with world.store.transaction("test", "erase") as tx:
        forget_person(tx, "ada")
    assert world.queued() == []


# --- TLS -------------------------------------------------------------------------------------------------


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "T")]),
    )
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return key, made


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Mailbox, int, str, list[Any]]]:
    """A server that demands STARTTLS and a login."""
    key, certificate = _authority()
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    keys = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(pem + keys)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    box, logins = Mailbox(), []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> smtp.AuthResult:
        logins.append((data.login, data.password))
        return smtp.AuthResult(success=data.password == SECRETS["mail"].encode())

    class Secured(Loopback):
        def factory(self) -> smtp.SMTP:
            return smtp.SMTP(
                self.handler,
                tls_context=context,
                require_starttls=True,
                authenticator=check,
                auth_required=True,
            )

    controller = Secured(box, hostname="127.0.0.1", port=0)
    controller.start()
    yield box, controller.port, pem.decode(), logins
    controller.stop()


def test_starttls_is_verified_and_logs_in(
    world: RecoveryWorld, secured: tuple[Mailbox, int, str, list[Any]]
) -> None:
    box, port, pem, logins = secured
    config = SmtpConfig("localhost", "limen@limen.localhost", port, user="limen", secret="mail", ca_pem=pem)
    world.configure(notices=NoticeConfig(smtp=config))
    _queue(world)
    assert world.pump.send_due() == 1
    assert logins == [(b"limen", SECRETS["mail"].encode())]
    assert len(box.mails) == 1


def test_a_server_of_another_authority_gets_neither_login_nor_mail(
    world: RecoveryWorld, secured: tuple[Mailbox, int, str, list[Any]]
) -> None:
    box, port, _, logins = secured
    other = _authority()[1].public_bytes(serialization.Encoding.PEM).decode()
    config = SmtpConfig("localhost", "limen@limen.localhost", port, user="limen", secret="mail", ca_pem=other)
    world.configure(notices=NoticeConfig(smtp=config))
    _queue(world)
    assert world.pump.send_due() == 0
    assert (box.mails, logins) == ([], [])
    assert "certificate" in world.queued()[0].error


def test_who_strips_starttls_gets_nothing(world: RecoveryWorld, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    _smtp(world, port)
    _queue(world)
    assert world.pump.send_due() == 0
    assert box.mails == []
    assert "STARTTLS" in world.queued()[0].error


# --- the webhook -------------------------------------------------------------------------------------------


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.status = [], 204
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def _hooked(world: RecoveryWorld, hook: Any) -> None:
    url = f"http://127.0.0.1:{hook.server_address[1]}/limen"
    world.configure(notices=NoticeConfig(webhook=WebhookConfig(url, "hook")))


def test_a_webhook_is_signed_by_the_standard(world: RecoveryWorld, hook: Any) -> None:
    _hooked(world, hook)
    _queue(world)
    assert world.pump.send_due() == 1
    headers, body = hook.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRETS["hook"].removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    sent = json.loads(body)
    assert (sent["type"], sent["data"]["to"]["username"]) == ("notice.invitation", "ada")
    assert sent["data"]["facts"]["link"] == LINK


def test_a_webhook_that_fails_comes_again_under_the_same_id(world: RecoveryWorld, hook: Any) -> None:
    _hooked(world, hook)
    _queue(world)
    for status in (503, 302, 204):
        hook.status = status
        world.pump.send_due()
        world.clock.advance(120)
    assert len({headers["webhook-id"] for headers, _ in hook.got}) == 1
    assert (len(hook.got), world.queued()) == (3, []), "a redirect is no answer, and is not followed"


def test_a_short_secret_signs_nothing() -> None:
    with pytest.raises(Invalid, match="fewer than 24 bytes"):
        webhook_key(Secret("short"))
    with pytest.raises(Invalid):
        webhook_key(Secret("whsec_c2hvcnQ="))


# --- words -----------------------------------------------------------------------------------------------


def test_every_kind_says_something_with_any_of_its_facts() -> None:
    for kind, form in KINDS.items():
        facts: dict[str, Any] = dict.fromkeys(form.facts, "something")
        facts |= {name: 1_800_000_000.0 for name in facts if name == "at" or name.endswith("_at")}
        words = write_notice(kind, "Ada", facts, "limen.localhost")
        assert words.subject and all(words.lines)
        few = {name: value for name, value in facts.items() if name in ("what", "link")}
        assert write_notice(kind, "", few, "limen.localhost").lines[0] == "Hello,"
