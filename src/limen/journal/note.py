"""Signed notes: text with Ed25519 signatures under it, and the keys that make and verify them.

Source: C2SP signed-note (type 01, a signature of the text) and tlog-cosignature (type 04, a signature of
the text and the time at which the signer had verified it). A note is parsed strictly: what could be
written in two ways is refused.

Laws:
    N1 exact. What is parsed is rendered again byte for byte.
    N2 known keys alone. A note is opened only by a signature of a key that was given, and by none that fails.
"""

import base64
import binascii
import re
import struct
from enum import IntEnum
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from limen.core.errors import Invalid
from limen.journal.private_file import create_private

NOTE_BYTES_MAX = 64 * 1024
SIGNATURES_MAX = 16  # C2SP signed-note: at least so many must be accepted
INSTANT_MAX = 2**63 - 1  # C2SP tlog-cosignature

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_TIME = struct.Struct(">Q")
_SIGNATURE_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_PRIVATE = "PRIVATE+KEY+"


class Algorithm(IntEnum):
    """Types of signatures, by the number that C2SP signed-note gives them."""

    ED25519 = 1
    COSIGNATURE = 4


class NoteRefused(Invalid):
    """A note that is no note, or that no known key vouches for."""

    code = "NOTE_REFUSED"


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with the name of who signs by it. Its text is `NAME+HASH+BASE64`."""

    name: str
    algorithm: Algorithm
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of the hash of name, type and key: which key a signature is of."""
        named = self.name.encode() + b"\n" + bytes((self.algorithm,)) + self.public
        return sha256(named).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes((self.algorithm,)) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the key of its text.

        Raises:
            NoteRefused: not of that form.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _from_base64(encoded)
        if len(raw) != 1 + _KEY_BYTES or raw[0] not in tuple(Algorithm):
            raise NoteRefused(f"The verifier key {text!r} holds no Ed25519 key.", remedy=_KEY_FORM)
        key = cls(_name(name), Algorithm(raw[0]), raw[1:])
        if key.key_id.hex() != key_id:
            raise NoteRefused(f"The verifier key {text!r} has another hash than it says.", remedy=_KEY_FORM)
        return key


class Signature(msgspec.Struct, frozen=True):
    """One signature line. What `signed` holds depends on the key's type."""

    name: str
    key_id: bytes
    signed: bytes

    def __str__(self) -> str:
        return f"— {self.name} {_base64(self.key_id + self.signed)}\n"


class Note(msgspec.Struct, frozen=True):
    """A text that ends in a newline, and the signatures under it. Nothing of it is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(str(signature) for signature in self.signatures)


class Signer:
    """A private key with the name of who signs by it."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.name = _name(name)
        self._private = private

    @classmethod
    def load(cls, path: Path, name: str) -> "Signer":
        """Read a key file; make it, under `name`, if there is none.

        Raises:
            Invalid: the file is damaged.
        """
        if not path.exists():
            _create(path, name, Ed25519PrivateKey.generate())
        text = path.read_text("utf-8").strip()
        kept, _, rest = text.removeprefix(_PRIVATE).partition("+")
        raw = _from_base64(rest.partition("+")[2])
        if not text.startswith(_PRIVATE) or len(raw) != 1 + _KEY_BYTES:
            raise Invalid(f"The signing key {path} is damaged.", remedy="Restore it from a backup.")
        return cls(kept, Ed25519PrivateKey.from_private_bytes(raw[1:]))

    def key(self, algorithm: Algorithm = Algorithm.ED25519) -> VerifierKey:
        """Return the key that verifies this signer's signatures of a type."""
        return VerifierKey(self.name, algorithm, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """Sign a text."""
        return Signature(self.name, self.key().key_id, self._private.sign(text.encode()))

    def cosign(self, text: str, at: int) -> Signature:
        """Sign that a checkpoint with this text was verified at `at` (Unix seconds)."""
        signed = _TIME.pack(at) + self._private.sign(_cosigned(text, at))
        return Signature(self.name, self.key(Algorithm.COSIGNATURE).key_id, signed)


def parse_note(data: bytes) -> Note:
    """Return the note of its bytes.

    Raises:
        NoteRefused: not exactly the form of a note.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise NoteRefused(f"A note of {len(data)} bytes is larger than {NOTE_BYTES_MAX}.")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteRefused("A note is not UTF-8 text.") from None
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not text or not lines.endswith("\n") or _CONTROL.search(whole):
        raise NoteRefused("A note is not a text, an empty line and signatures.")
    signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > SIGNATURES_MAX:
        raise NoteRefused(f"A note has {len(signatures)} signatures, more than {SIGNATURES_MAX}.")
    return Note(text + "\n", signatures)


def verify_note(note: Note, key: VerifierKey) -> int | None:
    """Verify that `key` signed a note; return the time that a cosignature carries.

    Raises:
        NoteRefused: the key did not sign it, or one of its signatures is false.
    """
    mine = [one for one in note.signatures if (one.name, one.key_id) == (key.name, key.key_id)]
    if not mine:
        raise NoteRefused(f"A note is not signed by {key}.")
    return [_verify(note.text, one.signed, key) for one in mine][-1]


def _verify(text: str, signed: bytes, key: VerifierKey) -> int | None:
    at, message, signature = None, text.encode(), signed
    if key.algorithm is Algorithm.COSIGNATURE:
        if len(signed) != _TIME.size + _SIGNATURE_BYTES:
            raise NoteRefused(f"A cosignature of {key.name} has a wrong length.")
        at, signature = _TIME.unpack(signed[: _TIME.size])[0], signed[_TIME.size :]
        if at > INSTANT_MAX:
            raise NoteRefused(f"A cosignature of {key.name} has an impossible time.")
        message = _cosigned(text, at)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteRefused(f"A signature of {key.name} is false.") from None
    return at


def _parse_signature(line: str) -> Signature:
    match = _SIGNATURE_LINE.fullmatch(line)
    raw = _from_base64(match[2]) if match else b""
    if match is None or len(raw) <= 4:
        raise NoteRefused("A signature line of a note is not `— NAME BASE64`.")
    return Signature(_name(match[1]), raw[:4], raw[4:])


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _name(name: str) -> str:
    if not name or "+" in name or any(letter.isspace() or letter < " " for letter in name):
        raise NoteRefused(f"{name!r} is no name of a key.", remedy="A name has no spaces and no plus.")
    return name


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _from_base64(text: str) -> bytes:
    """Decode; empty for what is no base64, or not in the one form that encoding gives."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if _base64(raw) == text else b""


def _create(path: Path, name: str, private: Ed25519PrivateKey) -> None:
    """Write a new key file, readable by its owner alone, whole or not at all."""
    key_id = VerifierKey(name, Algorithm.ED25519, private.public_key().public_bytes_raw()).key_id.hex()
    raw = bytes((Algorithm.ED25519,)) + private.private_bytes_raw()
    create_private(path, f"{_PRIVATE}{_name(name)}+{key_id}+{_base64(raw)}\n".encode())


_KEY_FORM = "A verifier key is NAME+HASH+BASE64; print them with: limen audit key"
