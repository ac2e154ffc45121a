"""Whose a token of another issuer is: the workload whose rules its claims meet.

Laws:
    W1 all of them. A token is of a workload when every claim that its rule names is there and fits.
    W2 no spill. `*` crosses no `/` and no `:`, so no part of a name can pass for two.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

PATTERNS_MAX = 1_024
DEPTH_MAX = 8
VALUE_MAX = 512  # characters of a claim that a rule looks at: patterns cost more than their length


def matching_workloads(rules: Mapping[str, Mapping[str, str]], claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the workloads whose rules a verified token's claims meet, sorted."""
    return tuple(sorted(name for name, wanted in rules.items() if wanted and _meets(wanted, claims)))


def _meets(wanted: Mapping[str, str], claims: Mapping[str, Any]) -> bool:
    return all(_fits(find_claim(claims, name), pattern) for name, pattern in wanted.items())


def find_claim(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its name, or by a way into objects such as `kubernetes.io.namespace`; None for none.

    A name that has dots of its own comes before a way: `kubernetes.io` is one name.
    """
    return _find(claims, name, DEPTH_MAX)


def _find(claims: object, name: str, depth: int) -> object:
    if not isinstance(claims, Mapping) or depth == 0:
        return None
    if name in claims:
        return claims[name]
    for at in (place for place, character in enumerate(name) if character == "."):
        if name[:at] in claims:
            found = _find(claims[name[:at]], name[at + 1 :], depth - 1)
            if found is not None:
                return found
    return None


def _fits(value: object, pattern: str) -> bool:
    """Say whether a claim is what a rule wants: text, a whole number, true or false; never a list."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, int):
        value = str(value)
    return (
        isinstance(value, str) and len(value) <= VALUE_MAX and _compiled(pattern).fullmatch(value) is not None
    )


@lru_cache(maxsize=PATTERNS_MAX)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*{2,}|\*)", pattern)
    kinds = {"*": r"[^/:]*"}
    found = "".join(kinds.get(p, r"[\s\S]*") if p and set(p) == {"*"} else re.escape(p) for p in parts)
    return re.compile(found)
