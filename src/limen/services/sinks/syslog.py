"""Syslog over TLS: RFC 5424 messages, framed by their length in octets (RFC 5425).

Syslog has no acknowledgement. What it has is the end of TLS: a receiver that is told `close_notify` reads
all that came before, then answers with its own (RFC 5425 §4.4). So each batch has a connection of its own,
and counts as delivered when that answer has come. A receiver that only closes its socket is believed from the
third time in a row on, since some never answer; one that dies with something unread resets it.

Framing cannot be broken from inside: the length counts, and the body is ASCII without control characters.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from limen.journal.export.rows import Row
from limen.services.sinks.ports import Away, Message

TIMEOUT_S = 15.0
FACILITY_AUDIT = 13  # log audit, RFC 5424 table 1
CRITICAL, WARNING, INFORMATIONAL = 2, 4, 6
SILENT_ENDS_BELIEVED = 3

_NOT_PRINTABLE = re.compile(r"[^!-~]+")


class Closings:
    """How often in a row a receiver has closed without an answer. Outlives a sender."""

    silent = 0


class SyslogSender:
    """Sends each batch over a TLS connection of its own."""

    def __init__(self, address: str, context: ssl.SSLContext, closings: Closings, hostname: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._context = context
        self._hostname = header_word(hostname or socket.gethostname(), 255)
        self._closings = closings
        self._open: socket.socket | None = None

    async def send(self, messages: Sequence[Message]) -> None:
        """Send, close, and wait for the answer to the close."""
        framed = b"".join(frame(render_syslog(message, self._hostname)) for message in messages)
        try:
            await asyncio.to_thread(self._deliver, framed)
        except OSError as error:  # ssl's errors among them
            raise Away(f"syslog {self._address[0]}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Break what is under way, so that nobody waits for it."""
        if self._open is not None:
            with contextlib.suppress(OSError):  # wakes the thread; `close` would not
                socket.socket.shutdown(self._open, socket.SHUT_RDWR)

    def _deliver(self, framed: bytes) -> None:
        with socket.create_connection(self._address, timeout=TIMEOUT_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(plain, server_hostname=self._address[0]) as tls:
                self._open = tls
                try:
                    tls.sendall(framed)
                    self._confirm(tls)
                finally:
                    self._open = None

    def _confirm(self, tls: ssl.SSLSocket) -> None:
        """Say that this was all, and wait until the receiver says so too."""
        try:
            tls.unwrap().close()
        except (ssl.SSLEOFError, ssl.SSLSyscallError):
            self._believe()
        except OSError as error:
            if error.errno:  # reset, timed out
                raise
            self._believe()  # OpenSSL's "error 0": the end came without close_notify
        else:
            self._closings.silent = 0

    def _believe(self) -> None:
        self._closings.silent += 1
        if self._closings.silent < SILENT_ENDS_BELIEVED:
            raise Away(f"syslog {self._address[0]} closed without an answer (RFC 5425 section 4.4).")


def render_syslog(message: Message, hostname: str) -> bytes:
    """Return an RFC 5424 message; its content is the JSON, in which the record's place stands."""
    row = message.row
    priority = FACILITY_AUDIT * 8 + _severity(row)
    name = header_word(str(row.fields.get("kind") or row.fields.get("type", "")), 32)
    return f"<{priority}>1 {_instant(row)} {hostname} limen - {name} - ".encode() + message.body


def frame(message: bytes) -> bytes:
    """Return a message behind its length in octets (RFC 5425 §4.3)."""
    return b"%d %b" % (len(message), message)


def header_word(text: str, length: int) -> str:
    """Return a word that a syslog header can carry: PRINTUSASCII, bounded, `-` for none."""
    return _NOT_PRINTABLE.sub("_", text)[:length] or "-"


def _severity(row: Row) -> int:
    fields = row.fields
    if str(fields.get("kind", "")).startswith("journal."):
        return CRITICAL
    failed = fields.get("verdict") == "deny" or fields.get("kind") == "sign_in.failed"
    return WARNING if failed else INFORMATIONAL


def _instant(row: Row) -> str:
    try:
        return datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (OverflowError, ValueError, OSError):
        return "-"
