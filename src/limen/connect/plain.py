"""Text of a server, made fit for a terminal (law N5)."""

import unicodedata

SENTENCE_MAX = 500  # characters
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # controls, bidi overrides, surrogates


def plain(text: object, limit: int = SENTENCE_MAX) -> str:
    """Return text on one line without anything that a terminal obeys; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    kept = "".join(
        " " if mark.isspace() else mark
        for mark in text[: limit * 4]
        if mark.isspace() or unicodedata.category(mark) not in _UNSAFE
    )
    one_line = " ".join(kept.split())
    return one_line if len(one_line) <= limit else one_line[: limit - 1] + "…"
