"""Whether a condition can be true: folding, then a bounded look at its disjuncts.

The answer "no" is a proof; "yes" only means that no contradiction was found. Seen: constants, an atom
and its negation, contradictory comparisons of one term with literals (bounds of the schema included),
membership in literal sets, an attribute read where `has` says that it is not there. Not seen: relations
between two terms, membership of one group in another, patterns, addresses, and anything beyond
`DISJUNCTS_MAX` disjuncts. Errors are left aside: Cedar's validator has ruled them out.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from limen.core.entities import Kind
from limen.engine.expressions import (
    COMPARISONS,
    FALSE,
    TRUE,
    Expr,
    Extension,
    dotted,
    literal,
)

DISJUNCTS_MAX = 256
SMALL_RANGE = 128  # ranges up to this size are counted out one by one

Known = Callable[[Expr], Any]
"""What is known of an atom or term: its value, or UNKNOWN."""

UNKNOWN: Final = object()

RANGES: Mapping[Expr, tuple[int, int | None]] = {
    dotted("context.hour"): (0, 23),
    dotted("context.weekday"): (1, 7),
    dotted("context.risk"): (0, 100),
    dotted("context.session.aal"): (1, 3),
    dotted("context.session.age"): (0, None),
    dotted("context.session.auth_age"): (0, None),
    dotted("context.device.trust"): (0, 3),
}
"""What the engine ever puts there (Units: durations in milliseconds)."""

WORDS: Mapping[Expr, frozenset[Any]] = {
    dotted("principal.status"): frozenset({"active"}),  # others are refused before any policy
    dotted("principal.kind"): frozenset(kind.value for kind in Kind),
}
ALWAYS_FALSE = frozenset({dotted("principal.quarantined")})  # refused before any policy

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NOT = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


def fold(expr: Expr, known: Known) -> Expr:  # noqa: PLR0911 (a case per kind)
    """Return `expr` with everything that is known worked out; `TRUE` or `FALSE` when all of it is."""
    value = known(expr)
    if value is not UNKNOWN:
        return literal(value)
    kind = expr[0]
    if kind in ("lit", "bool", "var", "slot", "call", "record", "like"):
        return expr
    if kind in ("&&", "||"):
        return _fold_logic(kind, fold(expr[1], known), expr[2], known)
    if kind == "!":
        inner = fold(expr[1], known)
        if inner in (TRUE, FALSE):
            return FALSE if inner == TRUE else TRUE
        return inner[1] if inner[0] == "!" else ("!", inner)
    if kind == "if":
        test = fold(expr[1], known)
        if test in (TRUE, FALSE):
            return fold(expr[2] if test == TRUE else expr[3], known)
        return ("if", test, fold(expr[2], known), fold(expr[3], known))
    if kind in (".", "has", "is"):
        return (kind, fold(expr[1], known), expr[2])
    return _fold_operator(kind, tuple(fold(part, known) for part in expr[1:]))


def possible(expr: Expr) -> bool:
    """Return False only when a folded `expr` is proved to be never true."""
    try:
        disjuncts = _disjuncts(expr, True)
    except _TooMany:
        return True
    return any(_consistent(disjunct) for disjunct in disjuncts)


def _fold_logic(kind: str, left: Expr, right: Expr, known: Known) -> Expr:
    stops, goes = (FALSE, TRUE) if kind == "&&" else (TRUE, FALSE)
    if left == stops:
        return stops
    folded = fold(right, known)
    if left == goes:
        return folded
    if folded == stops:
        return stops
    return left if folded in (goes, left) else (kind, left, folded)


def _fold_operator(kind: str, operands: tuple[Expr, ...]) -> Expr:  # noqa: PLR0911 (a case per operator)
    expr: Expr = (kind, *operands)
    if len(operands) != 2:
        return expr
    left, right = operands
    both_literal = left[0] == "lit" and right[0] == "lit"
    if kind in ("==", "!="):
        if left == right:
            return TRUE if kind == "==" else FALSE
        if both_literal and _decidable(left[1], right[1]):
            return FALSE if kind == "==" else TRUE
        return _fold_boolean(kind, left, right)
    if kind in _ORDER:
        a, b = number(left), number(right)
        return expr if a is None or b is None else literal(_ORDER[kind](a, b))
    if kind == "contains" and left[0] == "set":
        if right in left[1:]:
            return TRUE
        plain = all(
            item[0] == "lit" and _decidable(item[1], right[1]) for item in left[1:] if right[0] == "lit"
        )
        return FALSE if len(left) == 1 or (right[0] == "lit" and plain) else expr
    if kind in ("+", "-", "*") and both_literal:
        a, b = left[1], right[1]
        return ("lit", a + b if kind == "+" else a - b if kind == "-" else a * b)
    return expr


def _fold_boolean(kind: str, left: Expr, right: Expr) -> Expr:
    for truth, other in ((left, right), (right, left)):
        if truth in (TRUE, FALSE):
            return other if (truth == TRUE) == (kind == "==") else fold(("!", other), lambda _: UNKNOWN)
    return (kind, left, right)


def _decidable(a: Any, b: Any) -> bool:
    """Unequal text of two addresses may still be one address; everything else differs if it differs."""
    both = isinstance(a, Extension) and isinstance(b, Extension)
    return not both or (a.number is not None and b.number is not None and a.number != b.number)


def number(expr: Expr) -> int | None:
    """Return a literal's place in its type's order, if it has one (Units: milliseconds for durations)."""
    if expr[0] != "lit":
        return None
    value = expr[1]
    return value.number if isinstance(value, Extension) else value if isinstance(value, int) else None


class _TooMany(Exception):
    """More disjuncts than are looked at."""


Literal = tuple[Expr, bool]
Conjunction = frozenset[Literal]


def _disjuncts(expr: Expr, positive: bool) -> list[Conjunction]:
    kind = expr[0]
    if kind == "bool":
        return [frozenset()] if expr[1] == positive else []
    if kind == "!":
        return _disjuncts(expr[1], not positive)
    if kind == "if":
        test = _disjuncts(expr[1], True), _disjuncts(expr[1], False)
        then, other = _disjuncts(expr[2], positive), _disjuncts(expr[3], positive)
        return _bounded(_product(test[0], then) + _product(test[1], other))
    if kind in ("&&", "||"):
        left, right = _disjuncts(expr[1], positive), _disjuncts(expr[2], positive)
        return _bounded(_product(left, right) if (kind == "&&") == positive else left + right)
    return [frozenset({(expr, positive)})]


def _product(left: list[Conjunction], right: list[Conjunction]) -> list[Conjunction]:
    if len(left) * len(right) > DISJUNCTS_MAX:
        raise _TooMany
    return [
        one | other
        for one in left
        for other in right
        if not any((atom, not positive) in one for atom, positive in other)
    ]


def _bounded(disjuncts: list[Conjunction]) -> list[Conjunction]:
    if len(disjuncts) > DISJUNCTS_MAX:
        raise _TooMany
    return disjuncts


def _consistent(literals: Iterable[Literal]) -> bool:
    terms: dict[Expr, _Domain] = {}
    absent: set[Expr] = set()
    read: set[Expr] = set()
    for atom, positive in literals:
        if positive and atom in ALWAYS_FALSE:
            return False
        if atom[0] == "has":
            if not positive:
                absent.add((".", atom[1], atom[2]))
            read.update(_above(atom[1]))
            continue
        for part in atom[1:]:
            if isinstance(part, tuple):
                read.update(_above(part))
        read.update(_above(atom))
        compared = _compared(atom, positive)
        if compared is not None:
            term, narrow = compared
            narrow(terms.setdefault(term, _Domain(term)))
    return not absent & read and all(domain.inhabited() for domain in terms.values())


def _above(expr: Expr) -> Iterable[Expr]:
    while expr[0] == ".":
        yield expr
        expr = expr[1]


def _compared(atom: Expr, positive: bool) -> tuple[Expr, Callable[["_Domain"], None]] | None:
    if atom[0] == "contains" and atom[1][0] == "set" and all(item[0] == "lit" for item in atom[1][1:]):
        values = frozenset(_point(item) for item in atom[1][1:])
        return atom[2], lambda domain: domain.among(values, positive)
    if atom[0] not in COMPARISONS:
        return None
    operator, left, right = atom
    if left[0] == "lit":
        operator, left, right = _MIRROR[operator], right, left
    if right[0] != "lit" or left[0] == "lit":
        return None
    operator = operator if positive else _NOT[operator]
    point = _point(right)
    if operator in ("==", "!="):
        return left, lambda domain: domain.among(frozenset({point}), operator == "==")
    bound = number(right)
    return None if bound is None else (left, lambda domain: domain.bounded(operator, bound))


def _point(expr: Expr) -> Any:
    order = number(expr)
    return expr[1] if order is None else order


class _Domain:
    """What one term may still be: a range, a set of values, values that it is not."""

    def __init__(self, term: Expr) -> None:
        self.low: int | None
        self.high: int | None
        self.low, self.high = RANGES.get(term, (None, None))
        self.values: frozenset[Any] | None = WORDS.get(term)
        self.not_values: frozenset[Any] = frozenset()

    def bounded(self, operator: str, bound: int) -> None:
        if operator in (">", ">="):
            low = bound + (operator == ">")
            self.low = low if self.low is None else max(self.low, low)
        else:
            high = bound - (operator == "<")
            self.high = high if self.high is None else min(self.high, high)

    def among(self, values: frozenset[Any], positive: bool) -> None:
        if not positive:
            self.not_values |= values
        else:
            self.values = values if self.values is None else self.values & values

    def inhabited(self) -> bool:
        if self.values is not None:
            return any(self._fits(value) for value in self.values)
        if self.low is None or self.high is None:
            return True
        if self.high - self.low < SMALL_RANGE:
            return any(self._fits(value) for value in range(self.low, self.high + 1))
        return True

    def _fits(self, value: Any) -> bool:
        if value in self.not_values:
            return False
        if not isinstance(value, int):
            return True
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
