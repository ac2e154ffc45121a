"""How values become words on a page: instants, ages, groups of digits, browsers, and the colour of a door."""

import re
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from markupsafe import Markup, escape

DOOR_HUES = 8
"""How many door colours the stylesheet has (`.hue-0` to `.hue-7`)."""

_AGES = ((86_400, "day"), (3_600, "hour"), (60, "minute"))

_BROWSERS = (
    (re.compile(r"\bEdg/"), "Edge"),
    (re.compile(r"\bOPR/"), "Opera"),
    (re.compile(r"\bFirefox/"), "Firefox"),
    (re.compile(r"\bHeadlessChrome/|\bChrom(?:e|ium)/"), "Chrome"),
    (re.compile(r"\bSafari/"), "Safari"),
    (re.compile(r"\bcurl/"), "curl"),
    (re.compile(r"\bgit/"), "git"),
    (re.compile(r"\bpython-httpx/|\bPython-urllib/|\bpython-requests/"), "Python"),
)
_SYSTEMS = (
    (re.compile(r"\biPhone\b"), "iPhone"),
    (re.compile(r"\biPad\b"), "iPad"),
    (re.compile(r"\bAndroid\b"), "Android"),
    (re.compile(r"\bWindows\b"), "Windows"),
    (re.compile(r"\bMac OS X\b|\bMacintosh\b"), "macOS"),
    (re.compile(r"\bCrOS\b"), "ChromeOS"),
    (re.compile(r"\bLinux\b"), "Linux"),
)

_QR = re.compile(
    r'<svg(?: (?:width|height|viewBox|class|xmlns)="[^"<>&]*")*>'
    r'<path(?: (?:transform|class|stroke|d)="[^"<>&]*")*/></svg>\s*'
)


def clock_time(at: float | str | None) -> Markup:
    """Return an instant as a `<time>` a person can read, in UTC; text passes through."""
    if at is None or isinstance(at, str):
        return escape(at or "never")
    moment = datetime.fromtimestamp(at, UTC)
    said = f"{moment.day} {moment:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), said)


def age_words(at: float | str | None, now: float | None) -> Markup:
    """Return how long ago (or ahead) an instant is, in words; the instant itself when `now` is unknown."""
    if at is None or isinstance(at, str) or now is None:
        return clock_time(at)
    moment = datetime.fromtimestamp(at, UTC)
    gap = now - at
    said = _gap_words(abs(gap))
    if said != "just now":
        said = f"{said} ago" if gap >= 0 else f"in {said}"
    return Markup('<time datetime="{}" title="{} {:%b %Y, %H:%M} UTC">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.day, moment, said
    )


def _gap_words(seconds: float) -> str:
    for unit_s, name in _AGES:
        count = int(seconds // unit_s)
        if count:
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "just now"


def in_chunks(text: str, size: int = 4) -> Markup:
    """Return text in evenly spaced groups that are copied as one word: easy to read out, exact to paste."""
    bare = text.strip()
    groups = (bare[start : start + size] for start in range(0, len(bare), size))
    return Markup("<wbr>").join(Markup("<span>{}</span>").format(group) for group in groups)


def agent_words(user_agent: str) -> str:
    """Return `Firefox on Windows` for a User-Agent header, or the text itself when it names neither."""
    browser = next((name for pattern, name in _BROWSERS if pattern.search(user_agent)), "")
    system = next((name for pattern, name in _SYSTEMS if pattern.search(user_agent)), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or user_agent or "Unknown browser"


def door_hue(name: str) -> int:
    """Return the colour an app's door always has: people find things again by colour."""
    return zlib.crc32(name.encode()) % DOOR_HUES


def door_letter(name: str) -> str:
    """Return the letter on an app's door."""
    return name.strip()[:1].upper() or "·"


def trusted_qr(svg: str) -> Markup:
    """Return a QR code's SVG as markup.

    Raises:
        ValueError: it is anything but one path in one svg element, so it could carry a script.
    """
    if not svg:
        return Markup("")
    if not _QR.fullmatch(svg):
        raise ValueError("qr_svg is not the plain SVG of a QR code; make it with pages.qr_svg().")
    return Markup(svg)  # noqa: S704 - checked against a closed grammar just above


FILTERS: Mapping[str, Callable[..., object]] = {
    "clock_time": clock_time,
    "age_words": age_words,
    "in_chunks": in_chunks,
    "agent_words": agent_words,
    "door_hue": door_hue,
    "door_letter": door_letter,
    "trusted_qr": trusted_qr,
}
