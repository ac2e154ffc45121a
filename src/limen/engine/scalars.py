"""One plain YAML scalar, read by its form."""

import re
from typing import Any

from limen.engine.forms import Anything, Choice, Duration, Flag, Form, Number, Size, Text, Whole, nearest

UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
DURATION_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def scalar_value(value: str | int | float | bool | None, form: Form) -> Any:  # noqa: PLR0911 (a case per form)
    """Return the value in the form's own type. Raises ValueError, with a sentence or empty."""
    match form:
        case Text(rule=rule) if isinstance(value, str):
            return rule.check(value)
        case Text():
            raise ValueError("Put the value in quotes if it is meant as text.")
        case Flag() if isinstance(value, bool):
            return value
        case Choice(values=values) if value in values:
            return value
        case Choice(values=values):
            near = nearest(str(value), values)
            raise ValueError(f"Did you mean `{near}`?" if near else "")
        case Whole(low=low, high=high) | Number(low=low, high=high):
            return _number(value, low, high, whole=isinstance(form, Whole))
        case Size(high=high):
            return _bounded(_scaled(str(value), UNITS), high)
        case Duration():
            return _duration_s(str(value))
        case Anything() if value is not None:
            return value
    raise ValueError


def _number(value: Any, low: float, high: float, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError
    if not low <= value <= high:
        raise ValueError("It is out of bounds.")
    return value


def _scaled(text: str, units: dict[str, int]) -> int:
    match = re.fullmatch(r"([0-9]{1,15}) ?([A-Za-z]{0,3})", text)
    if match is None or match[2].upper() not in units:
        raise ValueError
    return int(match[1]) * units[match[2].upper()]


def _bounded(value: int, high: int) -> int:
    if value > high:
        raise ValueError(f"It is more than {high} bytes.")
    return value


def _duration_s(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    if not text or not re.fullmatch(r"([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?", text):
        raise ValueError
    return sum(int(count) * DURATION_UNITS_S[unit] for count, unit in re.findall(r"([0-9]+)([dhms])", text))
