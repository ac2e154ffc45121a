"""Text that leaves Limen. Paths and names were typed by strangers; what reads an export may be a terminal, a
spreadsheet, a browser or a parser that is not strict.

Laws:
    X1 one line. JSON that leaves is ASCII and one line: no byte of it is a control character.
    X2 no formula. No CSV cell of text begins with what a spreadsheet would execute, however it is split.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

TEXT_MAX = 4096  # characters of one value; collectors need take no more than 8,192 bytes (RFC 5425 4.3.1)
CUT = "…"
DEPTH_MAX = 8

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1 (9B begins a terminal escape)
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi, invisible, lines
    "\U000e0000-\U000e007f]"  # tags: invisible text
)
_PLAIN = re.compile(r"""[A-Za-z0-9][A-Za-z0-9 _./:"-]*""")  # nothing to spell out, nothing to split at
_FORMULA = re.compile(r"""(^|[;,|])([\s"']*)(?=[=+\-@＝＋－＠])""")
"""Where a spreadsheet may see a formula's start: of the cell, and behind what another locale splits at."""


def clean(value: Any, depth: int = 0) -> Any:
    """Return a JSON-ready value whose text every parser takes: no NUL, no lone surrogate, bounded."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        if depth >= DEPTH_MAX:
            return {}
        return {clean_text(str(key)): clean(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [] if depth >= DEPTH_MAX else [clean(part, depth + 1) for part in value]
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has neither NaN nor infinity
    return value if isinstance(value, int | bool) or value is None else clean_text(str(value))


def is_clean(value: Any) -> bool:
    """Whether a value is as `clean` would leave it: the short way for nearly all."""
    if type(value) is str:
        return len(value) <= TEXT_MAX and value.isascii() and "\0" not in value
    return type(value) is int


def clean_text(text: str) -> str:
    """Return text without lone surrogates and NUL, cut to `TEXT_MAX`."""
    if len(text) > TEXT_MAX:
        text = text[: TEXT_MAX - 1] + CUT
    if text.isascii():
        return text.replace("\0", "\u2400") if "\0" in text else text
    return _LONE_SURROGATE.sub("\ufffd", text).replace("\0", "\u2400")


def render_json(value: Any) -> bytes:
    """Return JSON on one line, ASCII alone (law X1). The value was cleaned."""
    # DEL is the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode()


def render_cell(text: str) -> str:
    """Return text as a CSV cell shows it: control characters spelt out, no formula (law X2)."""
    if len(text) <= TEXT_MAX and _PLAIN.fullmatch(text):
        return text
    return _FORMULA.sub(r"\1\2'", spell_out(clean_text(text)))


def spell_out(text: str) -> str:
    """Return text with what no terminal should get spelt out: `\\x1b` for an escape."""
    return _UNSHOWN.sub(_spell, text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
