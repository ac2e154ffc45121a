"""What the check and its explaining process say to each other: length-prefixed MessagePack on pipes."""

import struct
from collections.abc import Mapping

import msgspec

from limen.core.decision import AccessRequest, Explanation, Facts

FRAME_MAX_BYTES = 64 * 1024 * 1024  # a bundle's files are the largest thing sent
PREFIX = struct.Struct(">I")


class Question(msgspec.Struct, frozen=True):
    """A denial to explain. `files` come with the first question under a bundle."""

    n: int
    request: AccessRequest
    facts: Facts
    bundle_id: str
    files: Mapping[str, str] | None = None


class Explained(msgspec.Struct, frozen=True):
    """The answer to question `n`; None when it could not be explained."""

    n: int
    explanation: Explanation | None = None


_encoder = msgspec.msgpack.Encoder()
parse_question = msgspec.msgpack.Decoder(Question).decode
parse_explained = msgspec.msgpack.Decoder(Explained).decode


def render_frame(message: Question | Explained) -> bytes:
    """Return a message with its length before it."""
    payload = _encoder.encode(message)
    return PREFIX.pack(len(payload)) + payload
