"""`mode:` in `limen.yaml`: the stage of an app, a route or a service, and of groups within it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from limen.core.rollout import ENFORCED, Mode, Rollout, Stage
from limen.engine import rules
from limen.engine.forms import Choice, Either, Key, MapOf, Rule, Table, Text


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("Write year, month and day: 2026-12-31.") from None


DATE = Rule("a date, such as 2026-12-31", _date, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
STAGE = Choice(tuple(mode.value for mode in Mode))

_STAGE_KEYS: Mapping[str, Key] = {
    "stage": Key(
        STAGE,
        "What a denial by policy does: `observe` records it and lets through, `warn` tells the person too.",
        required=True,
    ),
    "owner": Key(Text(rules.USER), "The person who answers for this stage.", "the resource's owner"),
    "until": Key(
        Text(DATE), "When the next stage is due; of `warn`, the day from which it is denied.", "no date"
    ),
}
_GROUPS = Key(
    MapOf(rules.GROUP, Either(STAGE, Table(_STAGE_KEYS))),
    "Groups with a stage of their own, pilots first. Who is in several has the strictest.",
    "none",
)
_SIGN_IN = Key(
    Choice(("required", "optional")),
    "Whether pages of `observe` and `warn` ask people to sign in; programs pass without an identity.",
    "required",
)

_SAYS = "What a denial by policy does, here and for groups: a stage, or a table."
MODE = Key(
    Either(STAGE, Table({**_STAGE_KEYS, "sign_in": _SIGN_IN, "groups": _GROUPS})),
    _SAYS,
    "enforce",
)
ROUTE_MODE = Key(MODE.form, _SAYS, "the app's")
SERVICE_MODE = Key(
    Either(
        STAGE,
        Table(
            {**_STAGE_KEYS, "groups": _GROUPS},
            elsewhere={"sign_in": "A service always needs a session: remove the key."},
        ),
    ),
    _SAYS,
    "enforce",
)


def read_rollout(tree: Any) -> Rollout:
    """Return what a `mode:` that was read says."""
    if isinstance(tree, str):
        return Rollout(_stage(tree))
    groups = {name: _stage(one) for name, one in tree.get("groups", {}).items()}
    return Rollout(_stage(tree), tree.get("sign_in", "required") == "required", groups)


def rollout_or_enforced(tree: Mapping[str, Any]) -> Rollout:
    """Return the rollout of an app or service; one that says nothing is enforced."""
    return read_rollout(tree["mode"]) if "mode" in tree else ENFORCED


def _stage(tree: Any) -> Stage:
    if isinstance(tree, str):
        return Stage(Mode(tree))
    return Stage(Mode(tree.get("stage", Mode.ENFORCE)), tree.get("owner", ""), tree.get("until", ""))
