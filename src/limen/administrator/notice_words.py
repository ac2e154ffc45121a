"""What notices say: one table from a kind to its words. Plain text; no markup, no tracking, one link at most.

Law: W1 what others wrote stays on its line: facts are cut, and control characters are spelt as spaces, so
    that no name makes a header, a second link's line or a paragraph of ours; nor is a name itself a link.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

NoticeKind = Literal["invitation", "enrolment", "recovery", "expiry", "break_glass", "sponsor", "test"]
Fact = str | float | int | None

FACT_MAX = 512  # characters; the longest are our own links

_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

_LINKING = re.compile(
    r"(?i)\b(?:https?|ftp|mailto|tel)\b:?|\bwww\b|[:/\\@]+|(?<=\S)[.\u3002\uff0e\uff61]+(?=\S)"
)
"""What makes a link of words: schemes, slashes, `@`, and dots inside of a word (IDNA's dots too)."""


class Words(msgspec.Struct, frozen=True):
    """A subject, and the lines of a text."""

    subject: str
    lines: tuple[str, ...]


Facts = Mapping[str, str]


class Kind(msgspec.Struct, frozen=True):
    """The facts that a kind may be given, and what it then says."""

    facts: frozenset[str]
    write: Callable[[Facts, str], Words]  # facts, and the domain


def _invitation(facts: Facts, domain: str) -> Words:
    by = f"{facts['by']} has" if facts.get("by") else "An administrator has"
    return Words(
        f"Set up your sign-in at {domain}",
        (
            f"{by} invited you to {domain}.",
            f"Set up your sign-in with this link. It works once{_until(facts)}:",
            facts["link"],
            "If you do not expect this, do nothing, and tell your administrators.",
        ),
    )


def _enrolment(facts: Facts, domain: str) -> Words:
    return Words(
        f"Your sign-in at {domain} was changed",
        (
            f"{facts['what']}{_when(facts)}{_from(facts)}.",
            "If that was not you, sign out everywhere on your account page and tell your administrators now.",
        ),
    )


def _recovery(facts: Facts, domain: str) -> Words:
    if not facts.get("link"):
        return Words(
            f"Your sign-in at {domain} was recovered" if facts.get("done") else f"Recovery at {domain}",
            (
                f"{facts['what']}{_when(facts)}{_from(facts)}.",
                "If that was not you, tell your administrators now.",
            ),
        )
    return Words(
        f"Recover your sign-in at {domain}",
        (
            f"{facts['what']}{_when(facts)}{_from(facts)}.",
            f"If it was you, go on with this link. It works once{_until(facts)}:",
            facts["link"],
            "If it was not you, open the link and say so: that stops it. The link alone lets nobody in.",
        ),
    )


def _expiry(facts: Facts, domain: str) -> Words:
    what = facts.get("what") or "Your access"
    return Words(
        f"{what} ends{_on(facts)}",
        (
            f"{what} at {domain} ends{_on(facts)}.",
            f"Ask {facts.get('ask') or 'your administrators'} if it is needed longer.",
        ),
    )


def _break_glass(facts: Facts, domain: str) -> Words:
    return Words(
        f"Emergency access was used at {domain}",
        (
            f"{facts.get('what') or 'The sealed emergency credential was used'}{_when(facts)}{_from(facts)}.",
            *((f"Reason given: {facts['reason']}",) if facts.get("reason") else ()),
            "If nobody of you did this, end it now: `limen break-glass`.",
        ),
    )


def _sponsor(facts: Facts, domain: str) -> Words:
    return Words(
        facts.get("subject") or f"You answer for {facts.get('who', 'somebody')} at {domain}",
        (
            facts.get("what") or f"You answer for {facts.get('who', 'somebody')} at {domain}.",
            *((f"It ends{_on(facts)}.",) if facts.get("at") else ()),
            *((facts["link"],) if facts.get("link") else ()),
        ),
    )


def _test(facts: Facts, domain: str) -> Words:
    return Words(f"A test from {domain}", ("Notices reach you. There is nothing to do.",))


KINDS: Mapping[NoticeKind, Kind] = {
    "invitation": Kind(frozenset({"link", "by", "until_at"}), _invitation),
    "enrolment": Kind(frozenset({"what", "when_at", "ip"}), _enrolment),
    "recovery": Kind(frozenset({"what", "link", "when_at", "ip", "until_at", "done"}), _recovery),
    "expiry": Kind(frozenset({"what", "at", "ask"}), _expiry),
    "break_glass": Kind(frozenset({"what", "reason", "when_at", "ip"}), _break_glass),
    "sponsor": Kind(frozenset({"subject", "who", "what", "at", "link"}), _sponsor),
    "test": Kind(frozenset(), _test),
}
"""`at`, `when_at`, `until_at` are instants (Unix seconds); all other facts are text."""


def write_notice(kind: NoticeKind, name: str, facts: Mapping[str, Fact], domain: str) -> Words:
    """Return what a notice says (law W1)."""
    plain = {key: _text(key, value) for key, value in facts.items() if value is not None}
    words = KINDS[kind].write(plain, domain)
    called = plain_name(name)
    greeting = f"Hello {called[:80]}," if called else "Hello,"
    return Words(one_line(words.subject)[:200], (greeting, *words.lines))


def one_line(text: str) -> str:
    """Return text that cannot leave its line."""
    return _UNPRINTABLE.sub(" ", text).strip()


def plain_name(text: str) -> str:
    """Return a name that no mail program takes for a link: people choose their own."""
    return " ".join(_LINKING.sub(" ", one_line(text)).split())


def _text(key: str, value: Fact) -> str:
    if key == "at" or key.endswith("_at"):
        assert isinstance(value, float | int)
        return datetime.fromtimestamp(value, UTC).strftime("%-d %B %Y, %H:%M UTC")
    return (plain_name(str(value)) if key == "who" else one_line(str(value)))[:FACT_MAX]


def _until(facts: Facts) -> str:
    return f", until {facts['until_at']}" if facts.get("until_at") else ""


def _when(facts: Facts) -> str:
    return f" on {facts['when_at']}" if facts.get("when_at") else ""


def _on(facts: Facts) -> str:
    return f" on {facts['at']}" if facts.get("at") else " soon"


def _from(facts: Facts) -> str:
    return f", from {facts['ip']}" if facts.get("ip") else ""
