"""Every page in a real browser, in both themes: accessible by WCAG 2.2 AA, and at peace with its own CSP."""

import os
import runpy
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

PREVIEW = runpy.run_path(str(Path(__file__).with_name("pages_preview.py")))
CHROMIUM = Path("/usr/bin/chromium")
AXE = "4.14.1"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NARROWEST_PX = 320  # WCAG 1.4.10: no scrolling in two directions down to this width


@pytest.fixture(scope="module")
def axe_source() -> str:
    """axe-core from npm, packed once per machine and user."""
    cached = Path(tempfile.gettempdir()) / f"limen-tests-{os.getuid()}" / f"axe-core-{AXE}.js"
    if not cached.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed, so axe-core cannot be fetched")
        cached.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            packed = subprocess.run(
                ["npm", "pack", f"axe-core@{AXE}", "--silent"], cwd=folder, capture_output=True, timeout=120
            )
            if packed.returncode:
                pytest.skip(f"npm could not fetch axe-core {AXE}: {packed.stderr.decode()[-200:]}")
            with tarfile.open(Path(folder) / f"axe-core-{AXE}.tgz") as archive:
                member = archive.extractfile("package/axe.min.js")
                assert member is not None
                part = Path(folder) / "axe.js"
                part.write_bytes(member.read())
            part.replace(cached)
    return cached.read_text()


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with PREVIEW["preview_server"]() as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("Debian's Chromium is not installed")
    with sync_api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


def open_page(browser: Any, url: str, **options: Any) -> tuple[Any, list[str]]:
    """Return a loaded page and the list to which its console errors go."""
    page = browser.new_page(reduced_motion="reduce", **options)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url, wait_until="load")
    return page, said


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", sorted(PREVIEW["PREVIEWS"]))
def test_a_page_has_no_axe_violation_and_breaks_no_csp(
    name: str, theme: str, browser: Any, base_url: str, axe_source: str
) -> None:
    page, said = open_page(browser, f"{base_url}/{name}", color_scheme=theme)
    page.evaluate(axe_source)
    for summary in page.query_selector_all("summary"):
        summary.click()
    result = page.evaluate("tags => axe.run({runOnly: tags})", TAGS)
    page.close()
    broken = [(found["id"], node["html"]) for found in result["violations"] for node in found["nodes"]]
    assert broken == []
    assert result["passes"]
    assert said == []


@pytest.mark.parametrize("name", sorted(PREVIEW["PREVIEWS"]))
def test_a_page_fits_the_narrowest_screen(name: str, browser: Any, base_url: str) -> None:
    page, _ = open_page(browser, f"{base_url}/{name}", viewport={"width": NARROWEST_PX, "height": 640})
    beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, .button, input, select")]
             .filter((e) => e.offsetParent && !e.classList.contains("unseen"))
             .filter((e) => e.getBoundingClientRect().height < (e.type === "checkbox" ? 20 : 24))
             .map((e) => e.outerHTML)"""
    )
    page.close()
    assert beyond <= 0
    assert small == []


def test_the_csp_guard_of_these_tests_sees_a_violation(browser: Any, base_url: str) -> None:
    page, said = open_page(browser, f"{base_url}/login")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://x.test/'}))"
    )
    page.wait_for_function("() => true")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.close()
    assert any("Content Security Policy" in words for words in said)


@pytest.mark.parametrize(
    "name", ["login", "code", "stepup-passkey", "enrol-passkey", "enrol-choose", "account"]
)
def test_without_javascript_nothing_that_needs_it_is_shown(name: str, browser: Any, base_url: str) -> None:
    page, _ = open_page(browser, f"{base_url}/{name}", java_script_enabled=False)
    assert page.locator("[data-passkey-start]:visible, [data-needs-js]:visible").count() == 0
    assert page.locator("[data-needs-passkey]:visible").count() == 0
    page.close()


def test_the_decision_id_is_selected_whole_by_one_click_and_copies_without_spaces(
    browser: Any, base_url: str
) -> None:
    page, _ = open_page(browser, f"{base_url}/denied", viewport={"width": NARROWEST_PX, "height": 640})
    page.locator(".slip-id .copyable").click()
    assert page.evaluate("getSelection().toString()") == PREVIEW["DECISION"]
    page.close()


def test_the_keyboard_finds_every_control_of_sign_in_in_reading_order(browser: Any, base_url: str) -> None:
    page, _ = open_page(browser, f"{base_url}/login-providers")
    page.locator("[data-passkey-start]").focus()
    order = []
    for _step in range(6):
        order.append(
            page.evaluate("(document.activeElement.id || document.activeElement.textContent).trim()")
        )
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")
    page.close()
    assert order == [
        *("Sign in with a passkey", "username", "password", "Continue"),
        *("Cannot sign in?", "Example University"),
    ]
