"""`limen gateway join`: makes this machine a gateway, with a token that control made."""

import hashlib
import os
import socket
import ssl
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from limen import __version__
from limen.administrator.feed_wire import FIRST_LINE_MAX_BYTES, Bye, render_line
from limen.administrator.gateway_ca import CONTROL_NAME
from limen.administrator.gateway_csr import make_csr
from limen.administrator.join_wire import (
    CaIs,
    FetchCa,
    Join,
    JoinToken,
    Welcome,
    parse_address,
    parse_to_joiner,
)
from limen.core.errors import Conflict, Invalid, LimenError, Refused, Unavailable
from limen.enforcement.check.assertion import AssertionSigner
from limen.services.gateway_identity import Identity, IdentityFolder
from limen.services.state import StateDir

TIMEOUT_S = 10.0


def join_gateway(token: JoinToken, root: Path, controls: tuple[str, ...] = ()) -> Identity:
    """Join as the token's gateway and keep what control gives in `root`; `controls` overrule the token's.

    Raises:
        Conflict: the folder is control's, or of another gateway.
        Unavailable: no control node answers.
        Refused: control's CA is not the token's, or control refuses.
    """
    addresses = controls or token.controls
    if not addresses:
        raise Invalid("The token names no address of control.", remedy="Say --control HOST:PORT.")
    if (root / "limen.db").exists():
        raise Conflict(
            f"{root} is control's own state folder, whose gateway needs no joining.",
            remedy="Give the gateway a folder of its own with --state.",
        )
    state = StateDir.create(root)
    folder = IdentityFolder(state.root)
    if folder.joined and folder.load().node != token.node:
        raise Conflict(
            f"{root} belongs to the gateway '{folder.load().node}'.", remedy="Choose another folder."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    request = Join(
        node=token.node,
        secret=token.secret,
        csr=make_csr(key),
        assertion_jwk=AssertionSigner(state.assertion_key_path.read_bytes()).public_jwk(),
        release=__version__,
    )
    welcome = _ask_any(addresses, token, request)
    folder.save(welcome, addresses, key)
    return folder.load()


def _ask_any(addresses: tuple[str, ...], token: JoinToken, request: Join) -> Welcome:
    """Join at the first control node that answers."""
    parsed = [parse_address(text, "--control") for text in addresses]
    away: list[str] = []
    for text, address in zip(addresses, parsed, strict=True):
        try:
            ca = fetch_ca(address, token.ca)
        except (OSError, Unavailable) as error:
            away.append(f"{text}: {getattr(error, 'message', '') or error}")
            continue
        try:
            return _join(address, ca, request)
        except OSError as error:  # the token may be spent by now: no other node is asked
            raise Unavailable(
                f"The connection to {text} broke while joining: {error}.",
                remedy="Make a new token, and join again.",
            ) from None
    raise Unavailable(
        f"No control node answers ({'; '.join(away)}).",
        remedy="Check --control, the network, and that control runs with --gateways.",
        code="CONTROL_AWAY",
    )


def fetch_ca(address: tuple[str, int], fingerprint: str) -> str:
    """Return the CA of the control at `address` (PEM), once it is the one that `fingerprint` names.

    Raises:
        Refused: it is another.
        Unavailable: the answer is cut off.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # only the CA itself is asked for here, and it is compared
    unverified.minimum_version = ssl.TLSVersion.TLSv1_3
    answer = _exchange(address, unverified, FetchCa())
    if not isinstance(answer, CaIs):
        raise Refused("Control does not show its CA.", remedy="Check --control.", code="JOIN_REFUSED")
    try:
        cert = x509.load_pem_x509_certificate(answer.ca.encode())
        found = hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest()
    except ValueError:
        found = ""
    if found != fingerprint:
        raise Refused(
            f"What answers on {address[0]}:{address[1]} is not the control that made this token.",
            remedy="Check --control and the network between: somebody may pretend to be control.",
            code="JOIN_FINGERPRINT",
        )
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _join(address: tuple[str, int], ca: str, request: Join) -> Welcome:
    verified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verified.minimum_version = ssl.TLSVersion.TLSv1_3
    verified.load_verify_locations(cadata=ca)
    answer = _exchange(address, verified, request)
    if not isinstance(answer, Welcome):
        raise Refused("Control gave no identity.", remedy="Look at its log.", code="JOIN_REFUSED")
    return answer


def _exchange(address: tuple[str, int], context: ssl.SSLContext, message: msgspec.Struct) -> CaIs | Welcome:
    """Say one line and return the answer."""
    with (
        socket.create_connection(address, timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=CONTROL_NAME) as secured,
        secured.makefile("rb") as lines,
    ):
        secured.sendall(render_line(message))
        line = lines.readline(FIRST_LINE_MAX_BYTES)
    if not line.endswith(b"\n"):
        raise Unavailable("Control ended the connection without an answer.", remedy="Look at its log.")
    answer = parse_to_joiner(line)
    if isinstance(answer, Bye):
        raise Refused(answer.reason, remedy=answer.remedy, code=answer.code)
    return answer


def read_token(path: Path | None, given: str) -> str:
    """Return the token's text, from a file or as it was read from standard input.

    Raises:
        LimenError: the file cannot be read.
    """
    if path is None:
        return given
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LimenError(f"{path}: {error.strerror}.", remedy="Check the path.") from None
    with os.fdopen(descriptor) as file:
        return file.read(FIRST_LINE_MAX_BYTES)
