"""Control's TLS towards gateways: version 1.3 alone, its own certificate kept fresh, theirs demanded.

Two contexts with one certificate. On the feed's port a client without a certificate is let in as far as
the request to join; on the console's port there is nothing for one. A certificate of another CA, or one
that has expired, ends in the handshake on both.
"""

import os
import ssl
from pathlib import Path

from limen.administrator.gateway_ca import CONTROL_DAYS, RENEW_AT, GatewayCa
from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.journal.private_file import write_private

HANDSHAKE_TIMEOUT_S = 5.0


class ControlTls:
    """The contexts. `feed` for the feed's port, `console` for the console's."""

    def __init__(self, ca: GatewayCa, folder: Path, clock: Clock) -> None:
        self._ca, self._clock = ca, clock
        self._file = folder / f"control-{os.getpid()}.pem"
        self._renew_at: Instant = 0.0
        self.feed = _context(ca.pem, ssl.CERT_OPTIONAL)
        self.console = _context(ca.pem, ssl.CERT_REQUIRED)
        self.refresh()

    def refresh(self) -> bool:
        """Show a new certificate from now on, once the old one has lived most of its life."""
        now = self._clock.now()
        if now < self._renew_at:
            return False
        issued, key_pem = self._ca.issue_control(now)
        write_private(self._file, (key_pem + issued.chain).encode())
        try:
            for context in (self.feed, self.console):
                context.load_cert_chain(self._file)
        finally:
            self._file.unlink()  # OpenSSL reads files only, and has read it
        self._renew_at = now + CONTROL_DAYS * 86_400 * RENEW_AT
        return True


def _context(ca_pem: str, demand: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = demand
    context.load_verify_locations(cadata=ca_pem)
    # Without tickets each connection shows its certificate again, so none outlives a removal.
    context.num_tickets = 0
    return context
