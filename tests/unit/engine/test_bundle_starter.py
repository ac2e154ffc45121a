"""The starter bundle and the guardrails to choose from are good examples of themselves."""

import pytest

from limen.engine.check import check_bundle
from limen.engine.protect import add_app
from limen.engine.starter import library, starter_files

ADMINS = frozenset({"limen-admins"})


def test_the_starter_bundle_is_clean_and_its_tests_pass() -> None:
    report = check_bundle(starter_files("corp.example"), groups=ADMINS)
    assert report.ok
    assert report.findings == ()
    assert len(report.results) >= 5


def test_the_starter_bundle_has_the_domain_asked_for() -> None:
    files = starter_files("corp.example")
    report = check_bundle(files)
    assert report.bundle is not None
    assert report.bundle.catalogue.domain == "corp.example"
    assert not any("DOMAIN" in text for text in files.values())


def test_a_protected_app_keeps_the_starter_bundle_clean() -> None:
    files = starter_files("corp.example")
    files["limen.yaml"] = add_app(
        files["limen.yaml"], name="wiki", upstream="http://127.0.0.1:9001", allow=("group:staff",)
    )
    report = check_bundle(files, groups=ADMINS | {"staff"})
    assert report.ok
    assert report.findings == ()


@pytest.mark.parametrize("name", sorted(library()))
def test_each_guardrail_to_choose_from_is_clean_beside_what_it_guards(name: str) -> None:
    files = starter_files("corp.example")
    files["limen.yaml"] = (
        "domain: corp.example\napps:\n"
        "  health: {upstream: 'http://127.0.0.1:1', allow: [group:staff], labels: [phi]}\n"
        "  git: {upstream: 'http://127.0.0.1:2', allow: [group:staff], labels: [source]}\n"
    )
    files[f"policies/guardrails/{name}.cedar"] = library()[name]
    report = check_bundle(files, groups=ADMINS | {"staff"})
    assert report.ok
    assert {finding.id for finding in report.findings} <= {"unreferenced-label"}  # the other app's


@pytest.mark.parametrize("text", [*library().values(), *starter_files("x.example").values()])
def test_every_starter_guardrail_has_a_reason_and_a_source(text: str) -> None:
    policies = text.split("@id(")[1:]
    forbids = [part for part in policies if "forbid(" in part]
    before = text.split("@id(")[:-1]
    for part, comment in zip(policies, before, strict=True):
        if part in forbids:
            assert "@reason(" in part
            assert any(source in comment.rsplit("\n\n", 1)[-1] for source in ("NIST", "CFR", "OMB", "CISA"))
