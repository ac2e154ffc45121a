"""How one tunnel came to its end."""

from collections.abc import Mapping

import msgspec


class Finished(msgspec.Struct, frozen=True):
    """Both sides had said all they had to say, or this side went away."""


class Refused(msgspec.Struct, frozen=True):
    """The gateway did not open it. `body` is what it said, up to a limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Cut(msgspec.Struct, frozen=True):
    """It was open, and the gateway ended it. `stream_id` is Limen's name of it, if it told one."""

    stream_id: str


class Lost(msgspec.Struct, frozen=True):
    """The connection to the gateway ended under it."""

    sentence: str


class NotTaken(msgspec.Struct, frozen=True):
    """The gateway never looked at it (RFC 9113 §8.7): it may be tried again on another connection."""


Outcome = Finished | Refused | Cut | Lost | NotTaken
