"""A person's day in a real browser: enrol a passkey, be let in, be refused, be told why, cure it, leave."""

from collections.abc import Iterator

import pyotp
import pytest
from demo_rig import CHROMIUM, CHROMIUM_ARGUMENTS, Demo, browser_home

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.envoy]


@pytest.fixture(scope="module")
def chromium(demo: Demo) -> Iterator[sync_api.Browser]:
    with browser_home(demo.ca_file) as environment, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=CHROMIUM_ARGUMENTS, env=environment
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: sync_api.Browser) -> Iterator[sync_api.Page]:
    context = chromium.new_context()
    context.set_default_timeout(20_000)
    yield context.new_page()
    context.close()


def add_authenticator(page: sync_api.Page) -> tuple[sync_api.CDPSession, str]:
    """Give the browser a platform authenticator that verifies its user when a page asks."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    made = session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "ctap2Version": "ctap2_1",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return session, made["authenticatorId"]


def sign_in(page: sync_api.Page, demo: Demo, username: str) -> None:
    person = demo.ready["people"][username]
    page.get_by_label("Username").fill(username)
    page.locator("input[name=password]").fill(person["password"])
    page.locator("form:has(input[name=password]) button[type=submit]").first.click()
    page.locator("input[name=code]").wait_for()
    page.locator("input[name=code]").fill(pyotp.TOTP(person["totp_secret"]).now())
    page.locator("form:has(input[name=code]) button[type=submit]").first.click()


def test_enrol_a_passkey_reach_the_wiki_be_denied_payroll_cure_it_and_sign_out_everywhere(
    page: sync_api.Page, demo: Demo
) -> None:
    link = demo.new_person("mary", "staff", "hr")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    # 1. She opens her link, chooses a password, pairs an authenticator app, keeps her codes.
    page.goto(link)
    page.locator("input[name=password]").fill("correct horse battery staple 7")
    page.locator("input[name=password_again]").fill("correct horse battery staple 7")
    page.locator("form:has(input[name=password]) button[type=submit]").first.click()
    page.locator("button[name=method][value=totp]").click()
    page.get_by_text("Cannot scan?").click()
    secret = page.locator("details .copyable").inner_text()
    page.locator("input[name=code]").fill(pyotp.TOTP("".join(secret.split())).now())
    page.locator("form:has(input[name=code]) button[type=submit]").first.click()
    page.locator("form:has([name=kept]) button").first.click()

    # 2. The wiki is open to her.
    page.goto(demo.url("wiki"))
    page.wait_for_url(demo.url("wiki", "/**"))
    assert page.locator("h1").count() >= 1

    # 3. Payroll wants a passkey: step-up says so, and where to add one.
    page.goto(demo.url("payroll"))
    page.wait_for_url(f"{demo.auth_url}/**")
    assert "passkey" in page.locator("main").inner_text().lower()

    # 4. She adds a passkey, and shows it.
    add_authenticator(page)
    page.goto(f"{demo.auth_url}/account")
    page.locator("form:has(input[name=name]) button").filter(has_text="passkey").first.click()
    page.get_by_text("not used yet").wait_for()
    page.goto(demo.url("payroll"))
    page.wait_for_url(f"{demo.auth_url}/**")
    page.locator("button").filter(has_text="passkey").first.click()
    page.wait_for_url(demo.url("payroll", "/**"))
    assert "payroll" in page.title().lower()

    # 5. She signs out everywhere; the wiki's tab asks her to sign in again.
    page.goto(f"{demo.auth_url}/account")
    page.locator('form[action="/logout/everywhere"] button').first.click()
    page.goto(demo.url("wiki"))
    page.wait_for_url(f"{demo.auth_url}/**")
    assert not [text for text in complaints if "Content Security Policy" in text]


def test_a_denial_says_why_what_cures_it_and_a_number_to_quote(page: sync_api.Page, demo: Demo) -> None:
    page.goto(demo.url("tool", "/admin"))
    sign_in(page, demo, "ada")
    page.wait_for_selector("[data-decision-id]")
    decision_id = page.locator("[data-decision-id]").first.get_attribute("data-decision-id") or ""
    assert page.locator("[data-remedy]").count() >= 1
    shown = demo.admin.get(f"/v1/decisions/{decision_id}")
    assert shown["record"]["verdict"] == "deny"
    assert shown["agrees"] is True


def test_a_single_page_app_whose_session_ends_recovers_from_the_401(
    chromium: sync_api.Browser, demo: Demo
) -> None:
    # The wiki's own policy forbids scripts; a single-page app's would not.
    page = chromium.new_context(bypass_csp=True).new_page()
    page.goto(demo.url("wiki"))
    sign_in(page, demo, "joan")
    page.wait_for_url(demo.url("wiki", "/**"))
    ask = "fetch('/', {headers: {accept: 'application/json'}}).then(async a => [a.status, a.headers.get('content-type'), a.status === 401 ? await a.json() : null])"  # noqa: E501
    assert page.evaluate(ask)[0] == 200
    demo.admin.delete("/v1/sessions", person="joan", reason="test")
    page.wait_for_function("fetch('/', {headers: {accept: 'application/json'}}).then(a => a.status === 401)")
    status, kind, problem = page.evaluate(ask)
    assert (status, kind) == (401, "application/problem+json")
    page.goto(problem["login_url"])
    page.wait_for_selector("input[name=password]")
