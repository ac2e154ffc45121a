"""Records to payloads and back. The payload is JSON with the record's type as its first member."""

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

KIND_OF: dict[type, Kind] = {
    DecisionRecord: Kind.DECISION,
    InputsRecord: Kind.INPUTS,
    BundleRecord: Kind.BUNDLE,
    OutcomeRecord: Kind.OUTCOME,
    EventRecord: Kind.EVENT,
}

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)

encode_record = _encoder.encode


def decode_record(frame: Frame) -> Record:
    """Return the record that a frame holds. Members that this release does not know are passed over.

    Raises:
        Invalid: the frame is sound, its content is not a record (`RECORD_INVALID`).
    """
    try:
        return _decoder.decode(frame.payload)
    except msgspec.MsgspecError as error:
        raise Invalid(
            f"Record {frame.position} of the journal cannot be read: {error}.",
            remedy="Use the release of Limen that wrote it.",
            code="RECORD_INVALID",
        ) from error
