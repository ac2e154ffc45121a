"""What a gateway's host and its brains say to each other: one JSON object per line, on a socket pair.

A brain stands by, is activated, serves, yields, and retires:

    brain                       host
    Standing            ->              it could serve: it has a bundle, and its sockets listen
                        <-      Activate
    Run                 ->              Envoy's files stand: run it (only where it does not run yet)
                        <-      EnvoyIs
    Serving | Refused   ->
                        <-      Yield   another brain is about to take over
    Yielded             ->              it writes none of Envoy's files any more
                        <-      Retire | Activate
                        <-      Stop    SIGTERM: drain
    Drained             ->

A word that is not known is skipped: host and brain may be of different releases.
"""

from typing import TypeVar

import msgspec

from limen.core.ids import Instant

BEAT_EVERY_S = 1.0
BEAT_MAX_S = 5.0  # a brain that is silent for so long hangs: it is killed, and started again
LINE_MAX_BYTES = 65_536
HOST_VARIABLE = "LIMEN_HOST_FD"
METRICS_VARIABLE = "LIMEN_METRICS_FD"


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """The brain could be activated. `release` is its code's."""

    release: str


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Envoy's files stand: run it."""


class Kick(msgspec.Struct, frozen=True, tag="kick"):
    """Let Envoy start anew."""


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Envoy serves, and asks this brain."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It could not be activated."""

    why: str


class Yielded(msgspec.Struct, frozen=True, tag="yielded"):
    """Envoy's files are another's."""


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """No request is on its way any more: Envoy may be stopped."""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The brain's loop goes round, each second.

    Attributes:
        streams: live streams that it holds.
        confirmed: the age of its replica is known.
    """

    streams: int
    confirmed: bool


Word = Standing | Run | Kick | Serving | Refused | Yielded | Drained | Beat
"""What a brain says."""


class Activate(msgspec.Struct, frozen=True, tag="activate"):
    """Take over Envoy, or run it. Requests that began at `since` or later are yours to record."""

    since: Instant


class Yield(msgspec.Struct, frozen=True, tag="yield"):
    """Leave Envoy's files to another brain, and go on answering. It records requests from `until` on."""

    until: Instant


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """Keep your live streams until they end, `deadline_s` at most; then end."""

    deadline_s: float


class Alone(msgspec.Struct, frozen=True, tag="alone"):
    """The brain before you is gone: what it has not recorded is yours."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Drain: live streams may go on for `drain_s`. When your input ends, end."""

    drain_s: float


class EnvoyIs(msgspec.Struct, frozen=True, tag="envoy"):
    """Envoy was started, or has ended.

    Attributes:
        running: it is kept running.
        pid: None between two processes.
    """

    running: bool
    pid: int | None
    restarts: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A line of Envoy's own log."""

    text: str


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """So many lines of Envoy's output did not reach you in all: you were too slow."""

    lines: int


Order = Activate | Yield | Retire | Alone | Stop | EnvoyIs | Said | Lost
"""What a host says."""

_T = TypeVar("_T")
_words: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def render_line(message: Word | Order) -> bytes:
    """Return one line."""
    return msgspec.json.encode(message) + b"\n"


def parse_word(line: bytes) -> Word | None:
    """Return what a brain said; None for a word of another release."""
    return _parse(_words, line)


def parse_order(line: bytes) -> Order | None:
    """Return what the host said; None for a word of another release."""
    return _parse(_orders, line)


def _parse(decoder: "msgspec.json.Decoder[_T]", line: bytes) -> _T | None:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError:
        return None
