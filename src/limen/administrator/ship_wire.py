"""How a joined gateway's journals come to control: one JSON object a line, on a connection of their own.

It is a second connection to the feed's port, so that bulk never delays a ping. The gateway says `ship`;
control answers `places`: how far it has each journal of this gateway, and whose keys are to be erased
first (`erased` says that they were). Then the gateway sends `batch` after `batch` and, behind the records
that they cover, the `notes` of its checkpoints; control answers each with `kept` once it is on its disk.
`beat` says how much is left to send. Each line of the gateway's is answered by one (`heard`, if there is
nothing to say), and none is sent before that: what was not answered is sent again on the next connection.

A batch holds frames as they stand in the gateway's segment, header and seal included, so that control's
copy has the same bytes: the same boot, positions and leaves. Payloads are JSON and are carried as they are.
"""

import base64
import re
from hashlib import sha256
from typing import Annotated

import msgspec

from limen.administrator.feed_wire import PROTOCOL, Bye, Unknown
from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.journal.frame import PAYLOAD_BYTES_MAX

SHIP_LINE_MAX_BYTES = PAYLOAD_BYTES_MAX + 1024 * 1024  # the largest record, and what stands around it
SHIP_ANSWER_MAX_BYTES = 4 * 1024 * 1024  # places, and the people whose keys are to be erased
BATCH_BYTES = 1024 * 1024  # of payloads, unless one alone is larger
BATCH_FRAMES = 2_000
BATCH_KEYS = 200  # each is one commit of control's
NOTES_PER_LINE = 500
JOURNALS_MAX = 64  # of one gateway: two, and two more for each time that its machine joined anew

NOWHERE = ""

_SLOT = re.compile(r"(-j\d{1,12})?-[ab]")


def is_journal_of(node: str, journal: str) -> bool:
    """Whether a journal's name is one of a gateway's own: its two slots, those of later joins included."""
    return journal.startswith(node) and _SLOT.fullmatch(journal, len(node)) is not None


def journal_of_next(node: str, at: float) -> str:
    """Return what the journals are called of a machine that takes the name of another: not as that one's.

    Else its first record would claim the place of theirs.
    """
    return f"{node}-j{int(at)}"


def hash_note(note: bytes) -> str:
    """Return what `Place.notes` says of a checkpoint."""
    return sha256(note).hexdigest()[:32]


class ShipHello(msgspec.Struct, frozen=True, tag="ship"):
    """The gateway's first line, which says that journals follow."""

    node: str
    protocol: int = PROTOCOL
    release: str = ""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far control has one journal.

    Attributes:
        boot, number: of the last segment that it has a part of; empty: it has none.
        end: position of the record that comes next there.
        sealed: it has that segment to its end.
        size: bytes that it has of the segment: where the next frame is, if nothing is missing before it.
        notes: hash of the newest checkpoint that it has of the journal; empty: none.
    """

    boot: str = NOWHERE
    number: int = 0
    end: int = 0
    sealed: bool = False
    size: int = 0
    notes: str = ""


class Places(msgspec.Struct, frozen=True, tag="places"):
    """Control's first line: where it stands by journal, and the owners whose keys are to be erased now."""

    places: dict[str, Place]
    erase: tuple[str, ...] = ()


class ShippedKey(msgspec.Struct, frozen=True):
    """A key under which records of a batch are sealed. `material` is base64."""

    id: str
    owner: str
    material: str

    def __repr__(self) -> str:
        return f"ShippedKey({self.id!r}, •••)"

    @classmethod
    def of(cls, key_id: str, owner: str, material: Secret[bytes]) -> "ShippedKey":
        """Make one of a key's parts."""
        return cls(key_id, owner, base64.b64encode(material.reveal()).decode())

    def reveal(self) -> bytes:
        """Return the key's bytes.

        Raises:
            Invalid: they are not base64.
        """
        try:
            return base64.b64decode(self.material, validate=True)
        except ValueError:
            raise Invalid(f"The key {self.id[:64]} is not base64.", code="SHIP_BROKEN") from None


Position = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
BootName = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}-[0-9a-f]{8}\Z")]
Number = Annotated[int, msgspec.Meta(ge=1, le=99_999_999)]


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """Frames of one segment, one after the other.

    Attributes:
        first: position of the first.
        frames: kind and payload of each.
        keys: those that control may not have yet.
        gap: what stands before `first` is damaged at the gateway and will never come.
        left: bytes that the gateway has yet to send after this.
    """

    journal: str
    boot: BootName
    number: Number
    first: Position
    frames: tuple[tuple[int, msgspec.Raw], ...]
    keys: tuple[ShippedKey, ...] = ()
    gap: bool = False
    left: Position = 0


class Notes(msgspec.Struct, frozen=True, tag="notes"):
    """Checkpoints of a journal, oldest first: signed notes (`limen.journal.checkpoints`)."""

    journal: str
    notes: Annotated[tuple[str, ...], msgspec.Meta(max_length=NOTES_PER_LINE)]


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """There is nothing to send now; or, with `left`, something that cannot be sent yet."""

    left: Position = 0


class Erased(msgspec.Struct, frozen=True, tag="erased"):
    """The keys of these owners are gone; `keys` are their ids."""

    owners: tuple[str, ...]
    keys: tuple[str, ...]


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """Everything of a journal up to `place` is on control's disk."""

    journal: str
    place: Place


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """Answers a `beat` or an `erased`."""


FromShipper = ShipHello | Batch | Notes | Beat | Erased
ToShipper = Places | Kept | Heard | Bye

_from_shipper: msgspec.json.Decoder[FromShipper] = msgspec.json.Decoder(FromShipper)
_to_shipper: msgspec.json.Decoder[ToShipper] = msgspec.json.Decoder(ToShipper)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_kind = msgspec.json.Decoder(_Kind)


def is_ship_line(line: bytes) -> bool:
    """Whether a connection's first line says that journals follow."""
    try:
        return _kind.decode(line).type == "ship"
    except msgspec.MsgspecError:
        return False


def parse_from_shipper(line: bytes) -> FromShipper:
    """Parse a line of a gateway that ships.

    Raises:
        Invalid: it is broken.
    """
    try:
        return _from_shipper.decode(line)
    except msgspec.MsgspecError as error:
        raise _broken(error) from error


def parse_to_shipper(line: bytes) -> ToShipper | Unknown:
    """Parse a line of control's. One of a kind that a later release has is passed over.

    Raises:
        Invalid: it is broken.
    """
    try:
        return _to_shipper.decode(line)
    except msgspec.MsgspecError as error:
        try:
            kind = _kind.decode(line).type
        except msgspec.MsgspecError:
            raise _broken(error) from error
        if kind in ("places", "kept", "heard", "bye"):
            raise _broken(error) from error
        return Unknown(kind)


def _broken(error: msgspec.MsgspecError) -> Invalid:
    return Invalid(
        f"A line of shipped records cannot be read: {error}.",
        remedy="Run the same release of Limen on control and gateways, or releases next to each other.",
        code="SHIP_BROKEN",
    )
