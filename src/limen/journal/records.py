"""Records to payloads and back. The payload is JSON with the record's type as its first member.

What tells of a person is sealed in it (`limen.journal.sealed`) wherever keys are given.
"""

import zlib

import msgspec

from limen.core.errors import Invalid
from limen.core.record import (
    BundleRecord,
    DecisionRecord,
    EventRecord,
    InputsRecord,
    OutcomeRecord,
    Record,
)
from limen.journal.frame import Frame, Kind
from limen.journal.keys import Keys
from limen.journal.sealed import seal, unseal

KIND_OF: dict[type, Kind] = {
    DecisionRecord: Kind.DECISION,
    InputsRecord: Kind.INPUTS,
    BundleRecord: Kind.BUNDLE,
    OutcomeRecord: Kind.OUTCOME,
    EventRecord: Kind.EVENT,
}

_ODD = (msgspec.MsgspecError, zlib.error, ValueError, TypeError, LookupError, RecursionError)
"""What a payload may raise that a gateway in strange hands has made up: other types, no text, a deep nest."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode_record(record: Record, keys: Keys | None = None) -> bytes:
    """Return the payload of a record, sealed under its owner's key; without `keys`, in clear.

    Raises:
        Unavailable: a new owner's key cannot be written.
    """
    return _encoder.encode(record if keys is None else seal(record, keys))


def decode_record(frame: Frame, keys: Keys | None = None) -> Record:
    """Return the record that a frame holds. Members that this release does not know are passed over.

    What is sealed reads as erased where `keys` do not open it: all of it, without `keys`.

    Raises:
        Invalid: the frame is sound, its content is not a record (`RECORD_INVALID`).
    """
    return decode_payload(frame.payload, frame.position, keys)


def decode_payload(payload: bytes, position: int, keys: Keys | None = None) -> Record:
    """Return the record of a payload that stood at `position`. Raises as `decode_record`."""
    try:
        return unseal(_decoder.decode(payload), keys)
    except (*_ODD, Invalid) as error:
        raise Invalid(
            f"Record {position} of the journal cannot be read: {error}.",
            remedy="Use the release of Limen that wrote it, or verify the journal: it may have been changed.",
            code="RECORD_INVALID",
        ) from error
