"""Forms: what a YAML value may look like, as values that the reader, JSON Schema and docs all read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """What a piece of text must be.

    Attributes:
        says: what it is, to follow "must be": `a DNS label, such as "wiki"`.
        check: returns the canonical text, or raises ValueError with a sentence (or nothing).
        pattern: the nearest ECMA regular expression, for editors; looser than `check`.
    """

    says: str
    check: Callable[[str], str]
    pattern: str | None = None


class Text(msgspec.Struct, frozen=True):
    """A string that fits a rule."""

    rule: Rule


class Flag(msgspec.Struct, frozen=True):
    """`true` or `false`."""


class Whole(msgspec.Struct, frozen=True):
    """A whole number within bounds."""

    low: int
    high: int


class Number(msgspec.Struct, frozen=True):
    """A number within bounds."""

    low: float
    high: float


class Size(msgspec.Struct, frozen=True):
    """A count of bytes: `50MB`, `1GiB`, or a whole number."""

    high: int


class Duration(msgspec.Struct, frozen=True):
    """A length of time as Cedar writes it, such as `15m` or `1h30m`, or a whole number of seconds."""


class Choice(msgspec.Struct, frozen=True):
    """One of a few words. `later` names words whose capability this release does not have."""

    values: tuple[str, ...]
    later: Mapping[str, str] = {}


class Many(msgspec.Struct, frozen=True):
    """A list. With `one_ok` a single value stands for a list of one."""

    item: Form
    one_ok: bool = False
    at_least: int = 0
    distinct: bool = True


class Key(msgspec.Struct, frozen=True):
    """One key of a table: its form, what it does, and its default in words."""

    form: Form
    doc: str
    default: str = ""
    required: bool = False


class Table(msgspec.Struct, frozen=True):
    """A mapping with known keys.

    Attributes:
        later: keys of capabilities that this release does not have, and what those are.
        elsewhere: keys that people look for here, and in a sentence what to write instead.
    """

    keys: Mapping[str, Key]
    later: Mapping[str, str] = {}
    elsewhere: Mapping[str, str] = {}


class MapOf(msgspec.Struct, frozen=True):
    """A mapping from names of the user's own choice to values of one form."""

    names: Rule
    value: Form
    empty_value: bool = False  # `name:` with nothing behind it is an empty table


class Either(msgspec.Struct, frozen=True):
    """A word or a table."""

    word: Choice
    table: Table


class Anything(msgspec.Struct, frozen=True):
    """Any scalar."""


Form = Text | Flag | Whole | Number | Size | Duration | Choice | Many | Table | MapOf | Either | Anything


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def describe(form: Any) -> str:  # noqa: PLR0911 (a case per form)
    """Return what a form accepts, in words, to follow "must be"."""
    match form:
        case Text(rule=rule):
            return rule.says
        case Flag():
            return "true or false"
        case Whole(low=low, high=high):
            return f"a whole number from {low} to {high}"
        case Number(low=low, high=high):
            return f"a number from {low:g} to {high:g}"
        case Size():
            return "a size, such as 50MB"
        case Duration():
            return "a duration, such as 15m, or seconds"
        case Choice(values=values):
            return " or ".join(values)
        case Many(item=item, one_ok=one_ok):
            return f"a list, each {describe(item)}" + (", or one of them" if one_ok else "")
        case Either(word=word):
            return f"{describe(word)}, or a table"
        case Anything():
            return "text, a number, true or false"
    return "a table"
