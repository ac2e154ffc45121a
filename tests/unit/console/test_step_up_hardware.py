"""Step-up to AAL 3: by a key that is proven to stay in hardware, and by nothing else."""

import msgspec
import pytest
from identity_world import AUTH, DOMAIN, WIKI, Browser, World
from passkey_maker import KEY_5, HardwareKey, Maker
from soft_passkey import SoftPasskey

from limen.core.identity_config import PasskeyConfig, SourcesConfig


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker()


def _listed(world: World, maker: Maker, *models: str) -> None:
    sources = SourcesConfig(passkeys=PasskeyConfig(roots_pem=maker.pem, hardware=models))
    world.catalogue = msgspec.structs.replace(world.catalogue, sources=sources)


def _register(browser: Browser, key: SoftPasskey) -> None:
    csrf = browser.form(browser.get("/account"))["csrf"]
    options = browser.script("/account/passkey/options", csrf, {}).json()
    answer = browser.script("/account/passkey", csrf, {"credential": key.create(options), "name": "My key"})
    assert answer.status_code == 200, answer.text


def _show(browser: Browser, key: SoftPasskey, step: str) -> tuple[int, dict[str, object], dict[str, object]]:
    """Answer a step-up by a passkey; return the status, what the browser was asked, and what came."""
    page = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    hidden = browser.form(page)
    assert f"/login/passkey/options?step={step}" in page.text
    options = browser.script(f"/login/passkey/options?step={step}", hidden["csrf"], {}).json()
    body = {"credential": key.get(options), "flow": hidden["flow"]}
    answer = browser.script("/login/passkey", hidden["csrf"], body)
    return answer.status_code, options, answer.json()


def test_a_hardware_key_brings_aal_3_and_the_way_goes_on(world: World, maker: Maker) -> None:
    _listed(world, maker, KEY_5)
    browser = world.browser()
    browser.sign_in("ada")
    soft, hard = SoftPasskey(DOMAIN, AUTH), HardwareKey(DOMAIN, AUTH, maker.batch())
    _register(browser, soft)
    _register(browser, hard)
    page = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    assert "Show your hardware key" in page.text
    assert 'name="password"' not in page.text and 'name="code"' not in page.text
    status, options, said = _show(browser, hard, "hardware")
    assert status == 200
    assert len(options["allowCredentials"]) == 1  # type: ignore[arg-type]
    assert str(said["next"]).startswith(f"{WIKI}/.limen/callback")
    session = world.parts.sessions.list_live("ada")[0][0]
    assert (session.aal, session.phishing_resistant) == (3, True)
    passed = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    assert passed.headers["location"].startswith(f"{WIKI}/.limen/callback")


def test_another_passkey_opens_nothing_that_wants_hardware(world: World, maker: Maker) -> None:
    _listed(world, maker, KEY_5)
    browser = world.browser()
    browser.sign_in("ada")
    soft, hard = SoftPasskey(DOMAIN, AUTH), HardwareKey(DOMAIN, AUTH, maker.batch())
    _register(browser, hard)
    _register(browser, soft)
    page = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    hidden = browser.form(page)
    options = browser.script("/login/passkey/options?step=up", hidden["csrf"], {}).json()  # not narrowed
    body = {"credential": soft.get(options), "flow": hidden["flow"]}
    said = browser.script("/login/passkey", hidden["csrf"], body).json()
    assert said["next"].startswith("/login/step-up")
    assert world.parts.sessions.list_live("ada")[0][0].aal == 2


def test_whoever_has_no_hardware_key_is_led_to_their_account(world: World, maker: Maker) -> None:
    _listed(world, maker, KEY_5)
    browser = world.browser()
    browser.sign_in("ada")
    _register(browser, SoftPasskey(DOMAIN, AUTH))
    page = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    assert "Nothing on your account can do this yet." in page.text
    assert "Add a hardware key" in page.text and "/account#passkeys" in page.text
    typed = {"csrf": browser.form(browser.get("/account"))["csrf"], "code": world.code("ada")}
    flow = str(page.url.params["flow"])
    assert browser.post("/login/step-up", {**typed, "flow": flow}).status_code == 403
    assert world.parts.sessions.list_live("ada")[0][0].aal == 2


def test_where_no_model_is_listed_the_page_says_so(world: World, maker: Maker) -> None:
    _listed(world, maker)
    browser = world.browser()
    browser.sign_in("ada")
    _register(browser, HardwareKey(DOMAIN, AUTH, maker.batch()))
    page = browser.follow(browser.get(browser.authorize_url(need="hardware-key")))
    assert "listed no model of hardware key" in page.text
    assert "Add a hardware key" not in page.text
