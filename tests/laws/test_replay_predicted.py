"""Predicted = actual: whom a replay says to lose access is exactly who is denied under that bundle."""

from collections.abc import Mapping, Sequence

import pytest
from replay_world import Person, Traffic, Visit, with_file

from limen.core.record import Record
from limen.engine.bundle import parse_bundle
from limen.engine.replay_report import Effect, Report
from limen.engine.replay_run import Replay

YAML = """\
domain: limen.test
apps:
  wiki:
    upstream: http://127.0.0.1:9001
    allow: [group:staff]
    routes:
      - {name: health, path: /healthz, public: true}
  payroll:
    upstream: http://127.0.0.1:9002
    owner: hugo
    allow: [group:hr]
"""
FILES: dict[str, str] = {"limen.yaml": YAML}
NARROWER = """\
@id("mfa")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource in App::"payroll")
unless { context has session && context.session.aal >= 2 };
@id("away")
forbid(principal, action, resource) when { context.network.ip.isInRange(ip("198.51.100.0/24")) };
@id("fresh-admin")
forbid(principal is User, action == Action::"admin", resource)
unless { context has session && context.session.auth_age <= duration("1m") };
"""
NEW_YAML = YAML.replace("allow: [group:staff]", "allow: [group:hr, group:engineers]").replace(
    "      - {name: health, path: /healthz, public: true}",
    "      - {name: admin, path: /admin/**, action: admin}\n"
    "      - {name: health, path: /health, public: true}",
)
ADMINS = '@id("admins") permit(principal in Group::"engineers", action == Action::"admin", resource);'
OBSERVING = NEW_YAML.replace("    owner: hugo\n", "    owner: hugo\n    mode: observe\n").replace(
    "allow: [group:hr]", "allow: [group:nobody]"
)
CANDIDATES: Mapping[str, Mapping[str, str]] = {
    "the same": FILES,
    "guardrails": with_file(FILES, "policies/guardrails/new.cedar", NARROWER),
    "other groups and routes": {"limen.yaml": NEW_YAML},
    "both": {
        "limen.yaml": NEW_YAML,
        "policies/guardrails/new.cedar": NARROWER,
        "policies/entitlements/admins.cedar": ADMINS,
    },
    "observed": {"limen.yaml": OBSERVING, "policies/guardrails/new.cedar": NARROWER},
    "an app gone": {"limen.yaml": YAML[: YAML.index("  payroll:")]},
}
PEOPLE = (
    Person("ada", ("staff", "hr")),
    Person("bob", ("staff",), aal=1),
    Person("eve", ("staff", "engineers")),
    Person("hugo", ("hr",), aal=1),
    Person("carl", ("visitors",), grant="wiki"),
)
VISITS = (
    *(
        Visit(who.name, app, path, method, ip)
        for ip in ("203.0.113.7", "198.51.100.9")
        for who in PEOPLE
        for app in ("wiki", "payroll")
        for path, method in (("/", "GET"), ("/admin/x", "GET"), ("/page", "POST"), ("/Admin/x", "GET"))
    ),
    Visit("ada", "wiki", "/healthz"),
    Visit("nobody", "wiki", "/healthz"),
)


def replayed(records: Sequence[Record], files: Mapping[str, str] | None) -> Report:
    replay = Replay(None if files is None else parse_bundle(files))
    for record in records:
        replay.feed(record)
    return replay.report()


@pytest.fixture(scope="module", params=[FILES, {"limen.yaml": OBSERVING}], ids=["enforced", "observing"])
def before(request: pytest.FixtureRequest) -> tuple[list[Record], list[int]]:
    traffic = Traffic(request.param, PEOPLE)
    statuses = traffic.drive(VISITS)
    return traffic.records(), statuses


@pytest.mark.parametrize("name", CANDIDATES)
def test_predicted_is_actual(name: str, before: tuple[list[Record], list[int]]) -> None:
    records, was = before
    report = replayed(records, CANDIDATES[name])
    now = Traffic(CANDIDATES[name], PEOPLE).drive(VISITS)
    changes = list(zip(VISITS, was, now, strict=True))
    recorded = [one for one in changes if one[1] not in (400, 401)]  # the others leave no record
    denied = sorted({f'User::"{v.who}"' for v, a, b in changes if a == 200 != b and v.path != "/healthz"})
    gained = sorted({f'User::"{v.who}"' for v, a, b in recorded if a != 200 == b})
    losses = (Effect.LOSES, Effect.STEP_UP)
    assert sorted(report.who(*losses)) == denied
    assert report.times(*losses) == sum(a == 200 != b for v, a, b in changes if v.path != "/healthz")
    public = [(a, b) for v, a, b in changes if v.path == "/healthz"]  # who asked is not recorded there
    assert report.times(Effect.SIGN_IN) == (len(public) if any(a == 200 != b for a, b in public) else 0)
    assert sorted(report.gainers) == gained
    assert report.times(Effect.GAINS) == sum(a != 200 == b for _, a, b in recorded)
    assert report.mismatched == 0 and report.derived == report.decisions


def test_under_its_own_bundle_nothing_differs(before: tuple[list[Record], list[int]]) -> None:
    report = replayed(before[0], None)
    assert report.decisions == report.derived == report.same > 0
    assert report.mismatched == 0 and not report.differences


def test_each_difference_says_who_on_what_by_which_policy() -> None:
    traffic = Traffic(FILES, PEOPLE)
    traffic.drive(VISITS)
    report = replayed(traffic.records(), CANDIDATES["guardrails"])
    stepping = next(one for one in report.differences if one.effect is Effect.STEP_UP)
    assert set(stepping.who) == {'User::"hugo"'} and stepping.remedies == ("second-factor",)
    assert stepping.after.policies == ("mfa",) and stepping.before.policies == ("allow:payroll:group:hr",)
    assert stepping.owner == "hugo" and dict(stepping.groups) == {"hr": 1}
    away = [one for one in report.differences if one.after.policies == ("away",)]
    assert {one.effect for one in away} == {Effect.LOSES}
    assert away[0].first_at <= away[0].last_at and away[0].samples
