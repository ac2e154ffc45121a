"""The coffee machine of the office: the wiki's live page shows what it tells, second by second.

What it tells follows from the time alone, so everybody who looks sees the same.
"""

import math
import time
from collections.abc import Iterator
from importlib.resources import files

import msgspec

from limen.services.demo.web import Streamed, Talk
from limen.services.demo.websocket import WebSocket

TICK_S = 1.0
WORDS_MAX = 40  # characters on its display
_CUP_EVERY_S = 1_200
_TANK_S = 2_400  # from full to empty

SCRIPT = (files("limen.services.demo") / "scripts" / "live.js").read_text("utf-8")
LIVE_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; form-action 'self'"
)


def moment(at: float) -> dict[str, str]:
    """Return what the machine tells at an instant, as people read it."""
    today_s = at % 86_400
    return {
        "celsius": f"{92 + 2.5 * math.sin(at / 9):.1f} °C",
        "water": f"{100 - 100 * (at % _TANK_S) / _TANK_S:.0f} %",
        "cups": f"{today_s // _CUP_EVERY_S:.0f}",
        "clock": time.strftime("%H:%M:%S", time.gmtime(at)),
    }


def ticks() -> Streamed:
    """Return its stream of server-sent events: the present moment, then one each second."""
    return Streamed(_events(), {"Content-Type": "text/event-stream", "Cache-Control": "no-store"})


def _events() -> Iterator[bytes]:
    while True:
        yield b"data: " + msgspec.json.encode(moment(time.time())) + b"\n\n"
        time.sleep(TICK_S)


def display() -> Talk:
    """Return the conversation with its display: what one writes there, it shows."""
    return Talk(_repeat)


def _repeat(socket: WebSocket) -> None:
    while (words := socket.receive()) is not None:
        socket.send(" ".join(words.split())[:WORDS_MAX])


def live_markup(at: float) -> str:
    """Return the body of the live page, with what the machine tells at `at`."""
    told = moment(at)
    names = {"celsius": "Boiler", "water": "Water", "cups": "Cups today", "clock": "As of (UTC)"}
    cells = "".join(
        f'<div><dt>{label}</dt><dd id="{name}">{told[name]}</dd></div>' for name, label in names.items()
    )
    return (
        "<h1>Coffee machine, live</h1>"
        "<p>What it tells, second by second, for as long as you may read the wiki.</p>"
        f'<dl class="live">{cells}</dl><p class="state" id="ticks" role="status"></p>'
        '<form id="say" hidden><p><label for="words">Words for its display</label></p>'
        f'<p class="row"><input id="words" maxlength="{WORDS_MAX}" autocomplete="off" required>'
        '<button>Show</button></p></form><p><output class="display" id="display" for="words" hidden></output>'
        '</p><p class="state" id="talk" role="status"></p>'
        "<noscript><p>Without scripts this page shows one moment; "
        '<a href="/live/ticks">the stream itself</a> goes on.</p></noscript>'
        '<script src="/live/live.js" defer></script>'
    )
