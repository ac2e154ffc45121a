"""`mode:`, `journal:` and `policy:` of limen.yaml: what they become, what is refused, what lint says."""

# ruff: noqa: E501 (a document reads better on one line)

import pytest

from limen.core.catalogue import JournalConfig
from limen.core.errors import BundleRefused, Finding
from limen.core.rollout import ENFORCED, Mode, Rollout, Stage
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.lint import lint

BEGIN = "domain: corp.example\n"


def parsed(text: str) -> Bundle:
    return parse_bundle({"limen.yaml": BEGIN + text})


def refused(text: str) -> Finding:
    with pytest.raises(BundleRefused) as error:
        parsed(text)
    [finding] = error.value.findings
    return finding


def app(mode: str) -> str:
    return f"apps:\n  wiki:\n    upstream: http://127.0.0.1:1\n    mode: {mode}\n"


def test_a_word_is_a_stage_and_nothing_said_is_enforced() -> None:
    assert parsed(app("warn")).catalogue.apps["wiki"].rollout == Rollout(Stage(Mode.WARN))
    assert parsed("apps: {wiki: {upstream: http://h:1}}\n").catalogue.apps["wiki"].rollout is ENFORCED
    assert parsed(app("enforce")).catalogue.apps["wiki"].rollout.enforced


def test_a_table_says_owner_date_sign_in_and_groups() -> None:
    text = "{stage: warn, owner: sam, until: 2026-12-31, sign_in: optional, groups: {pilots: {stage: enforce, owner: pia}, late: observe}}"
    assert parsed(app(text)).catalogue.apps["wiki"].rollout == Rollout(
        Stage(Mode.WARN, "sam", "2026-12-31"),
        sign_in=False,
        groups={"pilots": Stage(Mode.ENFORCE, "pia"), "late": Stage(Mode.OBSERVE)},
    )


def test_a_route_may_have_its_own_and_else_has_the_app_s() -> None:
    text = app("observe") + "    routes: [{name: a, path: /a, mode: enforce}, {name: b, path: /b}]\n"
    wiki = parsed(text).catalogue.apps["wiki"]
    assert [route.rollout for route in wiki.routes] == [Rollout(Stage(Mode.ENFORCE)), None]


def test_a_service_has_stages_and_no_word_on_sign_in() -> None:
    text = "services: {{db: {{address: 'h:1', mode: {}}}}}\n"
    assert parsed(text.format("observe")).catalogue.services["db"].rollout == Rollout(Stage(Mode.OBSERVE))
    finding = refused(text.format("{stage: warn, sign_in: optional}"))
    assert finding.id == "unknown-key"
    assert "always needs a session" in finding.remedy


@pytest.mark.parametrize(
    ("mode", "named", "remedy"),
    [
        ("observed", "apps.wiki.mode", "Did you mean `observe`?"),
        ("{until: 2026-12-31}", "apps.wiki.mode.stage", "observe or warn or enforce"),
        ("{stage: warn, until: 31.12.2026}", "apps.wiki.mode.until", "2026-12-31"),
        ("{stage: warn, until: 2026-02-30}", "apps.wiki.mode.until", "2026-12-31"),
        ("{stage: warn, owner: S am}", "apps.wiki.mode.owner", ""),
        ("{stage: warn, sign_in: never}", "apps.wiki.mode.sign_in", ""),
        ("{stage: warn, groups: {pilots: off}}", "apps.wiki.mode.groups.pilots", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(mode: str, named: str, remedy: str) -> None:
    finding = refused(app(mode))
    assert named in finding.message
    assert remedy in finding.remedy
    assert (finding.file, finding.line) == ("limen.yaml", 5)


def found(text: str, *groups: str) -> dict[str, Finding]:
    findings = lint(parsed(text), groups=frozenset(groups))
    return {finding.id: finding for finding in findings if finding.line > 1 or "pilots" in finding.message}


def test_a_warning_without_a_day_is_a_lint_finding() -> None:
    assert "warn-without-date" in found(app("warn"))
    assert found(app("{stage: enforce, groups: {pilots: warn}}"), "pilots")[
        "warn-without-date"
    ].message.startswith("wiki for pilots")
    assert "warn-without-date" not in found(app("{stage: warn, until: 2026-12-31}"))
    assert "warn-without-date" not in found(app("observe"))


def test_an_unknown_group_is_a_finding_and_a_known_one_counts_as_named() -> None:
    text = app("{stage: observe, groups: {pilots: enforce}}")
    finding = found(text, "pilot")["unknown-group"]
    assert (finding.remedy, finding.line) == ("Did you mean `pilot`?", 5)
    assert "unknown-group" not in found(text, "pilots")
    assert "unreferenced-group" not in found(text, "pilots")
    assert "unreferenced-group" in found(app("observe"), "pilots")


def test_journal_settings() -> None:
    text = "journal: {on_full: buffer, buffer: 32MB, sync: true, keep: {decisions: 90d, events: 400d}, bytes_max: 20GB, compact: false, witness: /mnt/witness}\n"
    assert parsed(text).catalogue.journal == JournalConfig(
        "buffer",
        32_000_000,
        True,
        {"decisions": 90 * 86_400.0, "events": 400 * 86_400.0},
        20_000_000_000,
        False,
        "/mnt/witness",
    )
    assert parsed("").catalogue.journal == JournalConfig()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("{buffer: 64MB}", "journal.buffer"),
        ("{on_full: buffer, buffer: 5}", "journal.buffer"),
        ("{bytes_max: 1MB}", "journal.bytes_max"),
        ("{keep: {decisions: 1h}}", "journal.keep.decisions"),
        ("{keep: {decision: 90d}}", "decision"),
        ("{witness: backup/witness}", "journal.witness"),
        ("{on_full: wait}", "journal.on_full"),
    ],
)
def test_journal_settings_that_cannot_be_meant(keys: str, named: str) -> None:
    finding = refused(f"journal: {keys}\n")
    assert named in finding.message
    assert finding.remedy


def test_guardrails_may_need_a_second_approver() -> None:
    assert parsed("policy: {guardrails: approved}\n").catalogue.guardrails_approved
    assert not parsed("policy: {guardrails: free}\n").catalogue.guardrails_approved
    assert not parsed("").catalogue.guardrails_approved
