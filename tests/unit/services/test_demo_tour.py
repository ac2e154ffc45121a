"""What the tour reads off Limen's pages is what the pages say."""

from limen.console.pages import render
from limen.engine.check import check_bundle
from limen.services.demo.sample_bundle import DOMAIN, demo_bundle
from limen.services.demo.seen import read_page

LEDGER = "127.0.0.1:9009"
UPSTREAMS = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(("wiki", "payroll", "tool"), 9001)}


def test_it_reads_decision_reasons_and_remedies_off_a_denial() -> None:
    page = render(
        "denied.html",
        decision_id="0123456789abcdef",
        app="payroll",
        title="Not open to you",
        reasons=["Health data opens only with a passkey.", "Sign in <again>."],
        remedies=[
            {"id": "passkey", "sentence": "Use a passkey.", "url": "https://auth.x/", "button": "Use it"},
            {"id": "grant", "sentence": "Ask.", "url": None, "button": None},
        ],
    )
    seen = read_page(page)
    assert seen.decision_id == "0123456789abcdef"
    assert seen.title == "Not open to you"
    assert seen.reasons == ("Health data opens only with a passkey.", "Sign in <again>.")
    assert seen.remedies == ("passkey", "grant")


def test_it_finds_the_passkey_form_of_a_step_up() -> None:
    page = render(
        "stepup.html",
        csrf="c1",
        flow="f1",
        need="passkey",
        sentence="Confirm.",
        action="/authorize",
        methods={"passkey"},
    )
    (form,) = read_page(page).passkey_forms
    assert (form.kind, form.hidden) == ("get", {"csrf": "c1", "flow": "f1"})
    assert form.options_url.startswith("/")
    assert form.finish_url.startswith("/")


def test_the_demo_bundle_passes_its_own_check() -> None:
    groups = frozenset({"staff", "engineers", "hr", "contractors", "limen-admins"})
    report = check_bundle(demo_bundle({**UPSTREAMS, "ledger": LEDGER}), groups=groups)
    assert [str(finding) for finding in report.findings] == []
    assert [result.why for result in report.results if not result.passed] == []
    assert report.ok
    assert report.bundle is not None
    assert report.bundle.catalogue.domain == DOMAIN
    assert {name: app.upstream[0] for name, app in report.bundle.catalogue.apps.items()} == UPSTREAMS
    ledger = report.bundle.catalogue.services["ledger"]
    assert f"{ledger.address}:{ledger.port}" == LEDGER
