"""Who a gateway is, and with what it reaches control: on control's own machine, or joined from another.

A joined gateway keeps `STATE/gateway/identity` (its name, where control is, the keys that it was given)
and `STATE/gateway/client.pem` (its certificate with the key, one file, so that the two never part).
"""

import asyncio
import base64
import ssl
from pathlib import Path

import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen.administrator.feed_client import Dial, FeedClient, dial_unix
from limen.administrator.feed_lines import BUFFER_BYTES, Connection
from limen.administrator.feed_wire import PROTOCOL_OLDEST
from limen.administrator.gateway_ca import (
    CONTROL_NAME,
    RENEW_AT,
    GatewayCertificate,
    parse_gateway_certificate,
)
from limen.administrator.gateway_csr import make_csr, pem_of_key
from limen.administrator.join_wire import Welcome, parse_address
from limen.core.clock import Clock
from limen.core.errors import Invalid, LimenError, NotFound
from limen.core.secret import Secret
from limen.journal.private_file import write_private
from limen.services.control_tls import HANDSHAKE_TIMEOUT_S
from limen.services.state import StateDir
from limen.store.sealing import APP_SECRETS, TOKENS

LOCAL_NODE = "gateway"
PROTOCOL_OLDEST_TLS = 2
RENEW_LOOK_EVERY_S = 60.0

log = structlog.get_logger("limen.gateway")


class Identity(msgspec.Struct, frozen=True):
    """What a joined gateway was given. The keys are base64."""

    node: str
    domain: str
    controls: tuple[str, ...]
    ca: str
    token_key: str
    app_secret_key: str
    journal: str = ""  # what its journals are called; empty: as the node

    def __repr__(self) -> str:
        return f"Identity({self.node!r}, •••)"


class IdentityFolder:
    """The folder `STATE/gateway` of a joined gateway."""

    def __init__(self, state_root: Path) -> None:
        self._folder = state_root / "gateway"
        self._identity = self._folder / "identity"
        self._client = self._folder / "client.pem"

    @property
    def joined(self) -> bool:
        """Whether there is an identity."""
        return self._identity.exists()

    def save(self, welcome: Welcome, controls: tuple[str, ...], key: ec.EllipticCurvePrivateKey) -> None:
        """Keep what control answered; `key` is the one that its certificate is of.

        A folder that was joined before keeps the name of its journals: they go on.
        """
        journal = self.load().journal if self.joined else welcome.journal
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.save_certificate(welcome.chain, key)
        identity = Identity(
            node=welcome.node,
            domain=welcome.domain,
            controls=controls,
            ca=welcome.ca,
            token_key=welcome.token_key,
            app_secret_key=welcome.app_secret_key,
            journal=journal,
        )
        write_private(self._identity, msgspec.json.encode(identity))

    def save_certificate(self, chain: str, key: ec.EllipticCurvePrivateKey) -> None:
        """Keep a certificate of `key`.

        Raises:
            Invalid: it is not of this key.
        """
        cert = x509.load_pem_x509_certificates(chain.encode())[0]
        if _public(cert.public_key()) != _public(key.public_key()):
            raise Invalid("Control signed another key than this gateway's.", code="GATEWAY_CERTIFICATE")
        write_private(self._client, (pem_of_key(key) + chain).encode())

    def load(self) -> Identity:
        """Return the identity.

        Raises:
            NotFound: this gateway has not joined.
            Invalid: the file is damaged.
        """
        try:
            return msgspec.json.decode(self._identity.read_bytes(), type=Identity)
        except FileNotFoundError:
            raise NotFound(
                f"{self._folder} holds no gateway's identity.", remedy="Run: limen gateway join"
            ) from None
        except msgspec.MsgspecError:
            raise Invalid(
                f"{self._identity} is damaged.", remedy="Join this gateway again with a new token."
            ) from None

    def certificate(self) -> GatewayCertificate:
        """Return what this gateway's certificate says."""
        cert = x509.load_pem_x509_certificates(self._client.read_bytes())[0]
        return parse_gateway_certificate(cert.public_bytes(serialization.Encoding.DER))

    def client_pem(self) -> tuple[str, Secret[str]]:
        """Return certificate chain and key, as Envoy is given them."""
        text = self._client.read_text("ascii")
        key, mark, chain = text.partition("-----BEGIN CERTIFICATE-----")
        return mark + chain, Secret(key)

    def context(self) -> ssl.SSLContext:
        """Return what a connection to control is made with, as the files stand now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain, purpose and name
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.load().ca)
        context.load_cert_chain(self._client)
        return context


class Seat(msgspec.Struct, frozen=True):
    """Where a gateway sits: what differs between control's own machine and any other.

    Attributes:
        dial: the way to control's feed.
        protocol_oldest: what the feed may be talked down to.
        token_key, app_secret_key: see `Welcome`.
        identity: None on control's own machine.
        consoles: where control's console answers over TLS; empty on control's own machine.
        journal: what its journals are called, before the slot.
        ship_dial: the way to control for its journals; None on control's own machine, which has them.
    """

    node: str
    dial: Dial
    protocol_oldest: int
    token_key: Secret[bytes]
    app_secret_key: Secret[bytes]
    identity: IdentityFolder | None = None
    consoles: tuple[tuple[str, int], ...] = ()
    journal: str = ""
    ship_dial: Dial | None = None

    @property
    def console_name(self) -> str:
        """What the certificate of every control node names."""
        return CONTROL_NAME


def find_seat(state: StateDir, *, node: str = LOCAL_NODE) -> Seat:
    """Return the seat of the gateway of this state folder. `node` names one that has not joined."""
    folder = IdentityFolder(state.root)
    if not folder.joined:
        return Seat(
            node=node,
            dial=dial_unix(state.socket("feed")),
            protocol_oldest=PROTOCOL_OLDEST,
            token_key=state.key(TOKENS),
            app_secret_key=state.key(APP_SECRETS),
            journal=node,
        )
    identity = folder.load()
    addresses = tuple(parse_address(text, "identity") for text in identity.controls)
    return Seat(
        node=identity.node,
        dial=dial_tls(addresses, folder),
        protocol_oldest=PROTOCOL_OLDEST_TLS,
        token_key=_key(identity.token_key),
        app_secret_key=_key(identity.app_secret_key),
        identity=folder,
        consoles=tuple((host, port + 1) for host, port in addresses),
        journal=identity.journal or identity.node,
        ship_dial=dial_tls(addresses, folder),
    )


def dial_tls(addresses: tuple[tuple[str, int], ...], folder: IdentityFolder) -> Dial:
    """Return a way to control over TLS. Each connection is made to the next address in turn."""
    turn = 0

    async def dial() -> Connection:
        nonlocal turn
        host, port = addresses[turn % len(addresses)]
        turn += 1
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=folder.context(),
            server_hostname=CONTROL_NAME,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            limit=BUFFER_BYTES,
        )
        return Connection(reader, writer)

    return dial


class Renewal:
    """Renews a joined gateway's certificate over its line, at two thirds of its life."""

    def __init__(self, folder: IdentityFolder, feed: FeedClient, clock: Clock) -> None:
        self._folder, self._feed, self._clock = folder, feed, clock

    def due(self) -> bool:
        """Whether it is time."""
        held = self._folder.certificate()
        return self._clock.now() >= held.issued_at + RENEW_AT * (held.expires_at - held.issued_at)

    async def renew(self) -> None:
        """Get a certificate of a new key, and keep it. The line stays as it is.

        Raises:
            LimenError: control is away, or refuses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        signed = await self._feed.renew(make_csr(key))
        self._folder.save_certificate(signed.chain, key)
        log.info("gateway.certificate_renewed", expires_at=self._folder.certificate().expires_at)

    async def run(self) -> None:
        """Renew whenever it is time, until cancelled."""
        while True:
            if self.due():
                try:
                    await self.renew()
                except LimenError as error:
                    log.warning("gateway.not_renewed", why=error.message)
            await asyncio.sleep(RENEW_LOOK_EVERY_S)


def _key(text: str) -> Secret[bytes]:
    return Secret(base64.b64decode(text))


def _public(key: object) -> bytes:
    public: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public
