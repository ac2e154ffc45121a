"""What re-assessment must come to, said a second time: rules as plain Python over plain rows.

Shares nothing with the engine, the index or the queue. Bundles are written twice: as files for the real
parts, and as `Rules` for the model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from reassess_world import FACTOR, YAML, bundle_fact

from limen.core.changes import BundleFact, PersonFact

HOUR_S = 3_600.0
FRESH_S = 900.0
ODD_AT = 1_800_014_400.0  # 12:00 UTC

FRESH = """\
@id("fresh") @reason("Sign in again.")
forbid(principal, action == Action::"admin", resource)
unless { context has session && context.session.auth_age <= duration("15m") };
"""
DAY = """\
@id("day") @reason("By day.")
forbid(principal, action, resource in App::"wiki") unless { context.hour >= 8 && context.hour < 20 };
"""
ODD = """\
@id("odd") @reason("Not after eleven.")
forbid(principal, action, resource in App::"chat")
when { context.now.offset(duration("1h")) > datetime("2027-01-15T13:00:00Z") };
"""
MOVED = (
    YAML.replace("/board/**", "/live")
    .replace("  wiki:\n", "  wiki:\n    staleness_max_s: 60\n")
    .replace('"http://127.0.0.1:2",', '"http://127.0.0.1:2", upgrades: [],')
    .replace("domain: limen.test\n", "domain: limen.test\nstreams: {max_s: 1800}\n")
)
WIKI_ONLY = YAML[: YAML.index("  chat:")]


class Rules(NamedTuple):
    """A bundle as the model knows it."""

    fact: BundleFact
    wiki_permit: bool = True
    others: bool = True  # chat and db are there
    board: str = "/board/"
    day: bool = False
    odd: bool = False
    wiki_staleness_s: float = 300.0
    upgrades: bool = True
    max_s: float = 12 * HOUR_S
    broken: bool = False


BUNDLES: Mapping[str, Rules] = {
    "usual": Rules(bundle_fact(guardrails=FACTOR + FRESH)),
    "closed": Rules(bundle_fact(permits="", guardrails=FACTOR + FRESH), wiki_permit=False),
    "day": Rules(bundle_fact(yaml=WIKI_ONLY, guardrails=FACTOR + FRESH + DAY), others=False, day=True),
    "moved": Rules(
        bundle_fact(yaml=MOVED, guardrails=FACTOR + FRESH + ODD),
        board="/live",
        odd=True,
        wiki_staleness_s=60.0,
        upgrades=False,
        max_s=1_800.0,
    ),
    "broken": Rules(BundleFact("active", "0" * 64, {"limen.yaml": "domain: [\n"}), broken=True),
}
BY_ID = {rules.fact.bundle_id: rules for rules in BUNDLES.values()}

Rows = Mapping[tuple[str, str], Any]
"""The rows of control at one position, by kind and id."""


class Ask(NamedTuple):
    """One request, or what a live stream is for. `token` is the id of an app session; empty is none."""

    host: str
    path: str
    token: str
    kind: str
    protocol: str = "http"
    person: str = ""  # whose the stream is; empty for a request, which is whoever the token says
    session: str = ""
    opened_at: float | None = None

    @property
    def app(self) -> str:
        name = self.host.partition(".")[0]
        return "@connect" if name == "db" else name


def allows(rows: Rows, ask: Ask, now: float, age_s: float) -> bool:
    """Say whether what control had in `rows`, known `age_s` ago, allows this at `now`."""
    rules = rules_of(rows)
    if rules is None or not _has_place(rules, ask):
        return False
    admin = ask.app == "wiki" and ask.path.startswith(rules.board)
    bound_s = rules.wiki_staleness_s if ask.app == "wiki" else 300.0
    if age_s > (min(bound_s, 30.0) if admin else bound_s):
        return False
    if ask.opened_at is not None and now >= ask.opened_at + rules.max_s:
        return False
    is_public = ask.app == "wiki" and ask.path == "/news"
    if is_public and not (ask.opened_at is not None and ask.person):
        return True
    session = _session(rows, ask, now)
    return session is not None and _policies_allow(rows, rules, session, ask, admin, now)


def rules_of(rows: Rows) -> Rules | None:
    """The bundle in force, if one is."""
    fact = rows.get(("bundle", "active"))
    rules = None if fact is None else BY_ID[fact.bundle_id]
    return None if rules is None or rules.broken else rules


def _has_place(rules: Rules, ask: Ask) -> bool:
    if ask.app != "wiki" and not rules.others:
        return False
    return not (ask.app == "chat" and ask.protocol == "websocket" and not rules.upgrades)


def _session(rows: Rows, ask: Ask, now: float) -> Any:
    """The session that the request has, or that the stream lives by."""

    def live(token: Any) -> Any:
        if token is None or token.app != ask.app or token.kind != ask.kind or now >= token.expires_at:
            return None
        session = rows.get(("session", token.parent))
        return session if session is not None and now < session.expires_at else None

    own = live(rows.get(("app_session", ask.token)))
    if ask.opened_at is None:
        return own
    if own is None and ask.kind == "cookie":
        for (kind, _), token in rows.items():
            if kind == "app_session" and token.parent == ask.session:
                own = own or live(token)
    return own if own is not None and own.person == ask.person else None


def _policies_allow(rows: Rows, rules: Rules, session: Any, ask: Ask, admin: bool, now: float) -> bool:
    person: PersonFact | None = rows.get(("person", session.person))
    if person is None or person.status != "active" or person.quarantined:
        return False
    if person.expires_at is not None and now >= person.expires_at:
        return False
    groups = _groups(rows, person.groups)
    permitted = {
        "wiki": rules.wiki_permit and "staff" in groups,
        "chat": "staff" in groups,
        "@connect": "dba" in groups,
    }[ask.app]
    if not permitted and not _granted(rows, person.id, groups, ask.app, now):
        return False
    if session.aal < 2 or (admin and now - session.auth_at > FRESH_S):
        return False
    if rules.day and ask.app == "wiki" and not 8 <= now % 86_400 // 3_600 < 20:
        return False
    return not (rules.odd and ask.app == "chat" and now > ODD_AT)


def _granted(rows: Rows, person: str, groups: set[str], app: str, now: float) -> bool:
    resource = ("Service", "db") if app == "@connect" else ("App", app)
    holders = {("User", person)} | {("Group", group) for group in groups}
    return any(
        kind == "grant"
        and grant.principal in holders
        and grant.resource == resource
        and now < grant.expires_at
        for (kind, _), grant in rows.items()
    )


def _groups(rows: Rows, direct: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    todo = list(direct)
    while todo:
        group = todo.pop()
        if group not in found:
            found.add(group)
            fact = rows.get(("group", group))
            todo.extend(fact.parents if fact is not None else ())
    return found
