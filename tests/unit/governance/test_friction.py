"""Friction is counted per person-day, app and group; a cure is a denial that becomes an allow in a day."""

from limen.core.record import DecisionRecord, EventRecord, Record
from limen.governance.friction import Cost, measure_friction

START = 1_800_000_000.0 // 86_400 * 86_400


def decided(
    at: float, person: str, app: str, verdict: str = "allow", code: str = "PERMITTED", **more: str
) -> Record:
    return DecisionRecord(
        f"{at}", START + at, "gw", "gateway", verdict, code, "b", "i", "read", f'App::"{app}"',
        subject=f'User::"{person}"', **more,
    )  # fmt: skip


def happened(at: float, kind: str, person: str) -> Record:
    about = {"target": person} if kind.startswith(("sign_in", "authenticator")) else {}
    return EventRecord(f"e{at}", START + at, "control", kind, actor=person, **about)


def groups(person: str) -> tuple[str, ...]:
    return {"ada": ("hr", "staff"), "bob": ("staff",)}.get(person, ())


def find(costs: tuple[Cost, ...], name: str) -> Cost:
    return next(cost for cost in costs if cost.name == name)


def test_a_denial_that_a_step_up_cures_is_one_episode_with_its_length_and_one_cure_tried() -> None:
    report = measure_friction(
        [
            decided(10, "ada", "payroll", "deny", "FORBIDDEN"),
            decided(11, "ada", "payroll", "deny", "FORBIDDEN"),
            happened(40, "session.stepped_up", "ada"),
            decided(50, "ada", "payroll"),
            decided(60, "ada", "payroll"),
        ],
        START,
        groups,
    )
    assert report.total == Cost("everybody", 1, 1, 2, 0, 1, 1, 1, 40.0)
    assert find(report.apps, "payroll") == Cost("payroll", 1, 0, 2, 0, 1, 1, 1, 40.0)
    assert find(report.groups, "hr") == Cost("hr", 1, 1, 2, 0, 1, 1, 1, 40.0)


def test_an_allow_of_another_app_or_a_day_later_cures_nothing() -> None:
    report = measure_friction(
        [
            decided(0, "ada", "payroll", "deny", "NO_PERMIT"),
            decided(5, "ada", "wiki"),
            decided(86_500, "ada", "payroll"),
        ],
        START,
        groups,
    )
    assert (report.total.episodes, report.total.cured, report.total.cure_s) == (1, 0, None)
    assert report.total.person_days == 2


def test_what_was_let_through_in_observe_or_warn_is_no_denial() -> None:
    report = measure_friction(
        [
            decided(0, "ada", "wiki", "allow", "FORBIDDEN", mode="warn", would_be="deny"),
            decided(1, "bob", "wiki", "allow", "FORBIDDEN", mode="observe", would_be="deny"),
        ],
        START,
        groups,
    )
    assert (report.total.denials, report.total.warnings, report.total.person_days) == (0, 1, 2)


def test_records_of_several_nodes_need_no_order_and_older_ones_do_not_count() -> None:
    records = [
        decided(50, "bob", "wiki"),
        decided(-10, "bob", "wiki", "deny", "FORBIDDEN"),
        decided(20, "bob", "wiki", "deny", "FORBIDDEN"),
        happened(5, "sign_in.failed", "bob"),
    ]
    report = measure_friction(records, START, groups)
    assert (report.total.denials, report.total.cure_s, report.total.prompts) == (1, 30.0, 1)
    assert find(report.people, "bob").per_person_day == 2.0


def test_outages_and_refusals_of_forged_requests_are_no_friction() -> None:
    report = measure_friction([decided(0, "ada", "wiki", "deny", "STATE_STALE")], START, groups)
    assert report.total == Cost("everybody")


def test_cures_tried_in_vain_count_too() -> None:
    report = measure_friction(
        [decided(0, "ada", "wiki", "deny", "NO_PERMIT"), happened(5, "authenticator.added", "ada")],
        START,
        groups,
    )
    assert (report.total.cures_tried, report.total.cured) == (1, 0)
    assert find(report.apps, "wiki").cures_tried == 1
