"""Sealing of what must be stored and read again: TOTP seeds, app secrets. Passwords are hashed instead.

One key lies in the state folder. Each use derives a key of its own from it (HKDF-SHA-256, RFC 5869), so
a process that needs one purpose is given only that: a gateway never holds the key of the TOTP seeds.
The context (`totp:ada`) is authenticated with the ciphertext: a sealed value moved to another row does
not open.
"""

import base64
import binascii
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from limen.core.errors import Invalid, Unavailable
from limen.core.secret import Secret

KEY_BYTES = 32
"""AES-256; also the length of the state key and of every derived key."""

NONCE_BYTES = 12
"""NIST SP 800-38D §8.2.2: random 96-bit nonces, good for 2³² seals of one key."""

_FORM = "s1."

CREDENTIALS = "credentials"
"""Purpose: TOTP seeds and what else never leaves control."""

APP_SECRETS = "app-secrets"
"""Purpose: secrets that gateways inject."""

TOKENS = "token"
"""Purpose: the MAC of session tokens (`limen.core.tokens`)."""


class Sealer:
    """Seals and opens with one derived key (AES-256-GCM)."""

    def __init__(self, key: Secret[bytes]) -> None:
        self._cipher = AESGCM(key.reveal())

    def seal(self, value: Secret[str], context: str) -> str:
        """Return `value` sealed for `context`, printable."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, value.reveal().encode(), context.encode())
        return _FORM + base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, context: str) -> Secret[str]:
        """Return what was sealed for `context`.

        Raises:
            Invalid: `SEAL_BROKEN`: changed, sealed for another context, or under another key.
        """
        try:
            raw = base64.b64decode(sealed.removeprefix(_FORM), altchars=b"-_", validate=True)
            plain = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode())
        except (InvalidTag, binascii.Error, ValueError) as fault:
            raise Invalid(
                f"The sealed value {context!r} does not open with this state folder's key.",
                remedy="Restore keys/state.key together with the database, or set the value again.",
                code="SEAL_BROKEN",
            ) from fault
        return Secret(plain.decode())


def derive_key(state_key: Secret[bytes], purpose: str) -> Secret[bytes]:
    """Return the key of one purpose."""
    hkdf = HKDF(SHA256(), KEY_BYTES, salt=None, info=f"limen/{purpose}".encode())
    return Secret(hkdf.derive(state_key.reveal()))


def secret_context(name: str) -> str:
    """Return the context under which a secret is sealed; gateways open it with the same."""
    return f"app_secret:{name}"


def create_state_key(path: Path) -> Secret[bytes]:
    """Write a new random key, readable by its owner alone, durable before it is used.

    An existing key is never overwritten: everything sealed would be lost.

    Raises:
        FileExistsError: there is one.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    key = secrets.token_bytes(KEY_BYTES)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(draft, path)  # unlike a rename, refuses to replace
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return Secret(key)


def load_state_key(path: Path) -> Secret[bytes]:
    """Return the key at `path`.

    Raises:
        Unavailable: not there, or not of its length.
    """
    try:
        key = path.read_bytes()
    except OSError as fault:
        raise Unavailable(
            f"The state key {path} cannot be read: {fault.strerror}.",
            remedy="Restore it from a backup of the state folder; nothing sealed opens without it.",
            code="STATE_KEY_MISSING",
        ) from fault
    if len(key) != KEY_BYTES:
        raise Unavailable(
            f"The state key {path} has {len(key)} bytes in place of {KEY_BYTES}.",
            remedy="Restore it from a backup of the state folder.",
            code="STATE_KEY_MISSING",
        )
    return Secret(key)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
