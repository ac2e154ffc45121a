"""Limen's own SAML keys: one signs; its successor is in the metadata before it does.

Whoever trusts Limen by SAML has its certificate written down, so keys do not turn by themselves: an
administrator makes a successor, whose certificate everybody is given, and from a day on it signs.

Laws:
    K4 one signs: the newest whose time has come, on all control nodes the same.
    K5 what signs is in the metadata, and so is what will.
"""

import threading
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from limen.administrator.ledger import Entry, Ledger
from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.store import saml as rows
from limen.store.saml import SamlKeyRow
from limen.store.sealing import Sealer
from limen.store.signing_keys import open_key

RSA_BITS = 3072  # NIST SP 800-57 part 1: good beyond 2030; such keys live for years
CERTIFICATE_DAYS = 3650
SUCCESSOR_AFTER_S = 14 * 86_400.0
EARLY_S = 86_400.0  # clocks elsewhere that run behind


class SamlKey(msgspec.Struct, frozen=True):
    """The key that signs."""

    certificate: str  # PEM
    private_pem: Secret[bytes]


class SamlKeys:
    """Signing keys of SAML. Threads may share it. Not to be called inside a transaction."""

    def __init__(self, ledger: Ledger, clock: Clock, sealer: Sealer) -> None:
        self._ledger = ledger
        self._clock = clock
        self._sealer = sealer
        self._opened: dict[str, SamlKey] = {}
        self._lock = threading.Lock()

    def signing(self) -> SamlKey:
        """Return the key that signs now; the first is made by whoever asks first."""
        row = _signing(self._known(), self._clock.now())
        with self._lock:
            found = self._opened.get(row.kid)
            if found is None:
                with self._ledger.store.read() as connection:
                    private = open_key(connection, row.kid, self._sealer)
                found = SamlKey(row.certificate, Secret(private.reveal().encode()))
                self._opened = {row.kid: found}
        return found

    def certificates(self) -> tuple[str, ...]:
        """Return the certificates of the metadata, PEM: of the key that signs, then of those that will."""
        known = self._known()
        signing = _signing(known, self._clock.now())
        return tuple(row.certificate for row in known[known.index(signing) :])

    def list(self) -> tuple[SamlKeyRow, ...]:
        """Return the keys that sign or will, oldest first."""
        known = self._known()
        return known[known.index(_signing(known, self._clock.now())) :]

    def rotate(self, actor: str, *, reason: str, after_s: float = SUCCESSOR_AFTER_S) -> SamlKeyRow:
        """Make the successor of the key that signs; it signs after `after_s`, and is published at once."""
        self._known()
        with self._ledger.entry(actor, reason) as entry:
            made = self._make(entry, entry.tx.now + after_s)
            rows.remove_saml_keys(entry.tx, signed_until=entry.tx.now)
        return made

    def _known(self) -> tuple[SamlKeyRow, ...]:
        with self._ledger.store.read() as connection:
            known = rows.list_saml_keys(connection)
        if known:
            return known
        with self._ledger.entry("limen", "make a SAML key") as entry:
            if not rows.list_saml_keys(entry.tx.connection):
                self._make(entry, entry.tx.now)
            return rows.list_saml_keys(entry.tx.connection)

    def _make(self, entry: Entry, active_at: Instant) -> SamlKeyRow:
        key = rsa.generate_private_key(65537, RSA_BITS)
        certificate = _certify(key, entry.tx.now)
        row = SamlKeyRow(
            kid=certificate.fingerprint(hashes.SHA256()).hex()[:32],
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            created_at=entry.tx.now,
            active_at=active_at,
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        rows.add_saml_key(entry.tx, row, Secret(pem.decode()), self._sealer)
        entry.note("signing_key.made", target=row.kid, use="saml", active_at=active_at)
        return row


def _signing(known: tuple[SamlKeyRow, ...], now: Instant) -> SamlKeyRow:
    """Return the newest whose time has come (law K4); before the first one's time, the first."""
    return next((row for row in reversed(known) if row.active_at <= now), known[0])


def _certify(key: rsa.RSAPrivateKey, now: Instant) -> x509.Certificate:
    at = datetime.fromtimestamp(now, UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Limen SAML")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(at - timedelta(seconds=EARLY_S))
    builder = builder.not_valid_after(at + timedelta(days=CERTIFICATE_DAYS))
    return builder.sign(key, hashes.SHA256())
