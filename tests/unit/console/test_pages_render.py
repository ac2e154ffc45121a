"""Pages: strict about their context, escaped, and free of anything a strict CSP would refuse."""

import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from limen.console import page_filters, pages
from limen.console.page_contexts import EVERY_PAGE, PAGES

JOURNEYS = Path(__file__).parents[2] / "journeys"
PREVIEWS: dict[str, tuple[str, dict[str, Any]]] = runpy.run_path(str(JOURNEYS / "pages_preview.py"))[
    "PREVIEWS"
]
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>"""
HANDLER = re.compile(r"^on[a-z]+$")


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of script and style elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag if tag in {"script", "style"} else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.inline.append(data)


def hostile(value: Any) -> Any:
    """Return the same context with markup in every text that is not a choice of the code's own."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value


def context(name: str) -> tuple[str, dict[str, Any]]:
    return PREVIEWS[name]


def test_every_page_has_a_preview() -> None:
    assert {template for template, _ in PREVIEWS.values()} == set(PAGES)


@pytest.mark.parametrize("name", sorted(PREVIEWS))
def test_a_page_has_no_inline_style_or_script_and_nothing_from_outside(name: str) -> None:
    template, given = context(name)
    elements = Elements(pages.render(template, **given))
    assert elements.inline == []
    for tag, attributes in elements.found:
        assert "style" not in attributes
        assert not [key for key in attributes if HANDLER.match(key)]
        assert tag not in {"style", "object", "embed", "base"}
        assert tag != "iframe" or template == "signed_out.html"  # OIDC Front-Channel Logout
        if tag in {"script", "link", "img"}:
            target = attributes.get("src") or attributes.get("href") or ""
            assert target.startswith(pages.STATIC_PREFIX)


@pytest.mark.parametrize("name", sorted(PREVIEWS))
def test_hostile_text_never_becomes_markup(name: str) -> None:
    template, given = context(name)
    kept = {"step", "qr_svg", "methods", "position", "urls", "now"}
    dirty = {key: item if key in kept else hostile(item) for key, item in given.items()}
    elements = Elements(pages.render(template, **dirty))
    assert elements.inline == []
    assert not [tag for tag, _ in elements.found if tag == "img"]
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert all((item.get("src") or "").startswith(pages.STATIC_PREFIX) for item in scripts)
    assert not [key for _, attributes in elements.found for key in attributes if HANDLER.match(key)]


@pytest.mark.parametrize("name", sorted(PREVIEWS))
def test_every_form_that_posts_carries_the_anti_forgery_field_and_labels_its_inputs(name: str) -> None:
    template, given = context(name)
    html = pages.render(template, **given)
    forms = re.findall(r"<form .*?</form>", html, re.S)
    away = [form for form in forms if "data-onward" in form]  # to others, who must not learn ours
    assert not any('name="csrf"' in form for form in away)
    assert all('name="csrf" value="t0k3n"' in form for form in forms if form not in away)
    elements = Elements(html)
    labels = {attributes.get("for") for tag, attributes in elements.found if tag == "label"}
    for tag, attributes in elements.found:
        if tag in {"input", "select"} and attributes.get("type") not in {"hidden", "checkbox"}:
            assert attributes.get("aria-hidden") == "true" or attributes["id"] in labels
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_sign_in_has_one_form_with_the_fields_that_automation_posts() -> None:
    template, given = context("login")
    elements = Elements(pages.render(template, **given))
    names = [attributes.get("name") for tag, attributes in elements.found if tag == "input"]
    assert names == ["csrf", "flow", "username", "password"]
    assert sum(tag == "form" for tag, _ in elements.found) == 1
    username = next(item for tag, item in elements.found if item.get("name") == "username")
    assert username["autocomplete"] == "username webauthn"


def test_a_denial_carries_its_decision_once_and_one_remedy_element_each() -> None:
    template, given = context("denied")
    elements = Elements(pages.render(template, **given))
    ids = [item["data-decision-id"] for _, item in elements.found if "data-decision-id" in item]
    assert ids == [given["decision_id"]]
    cures = [item["data-remedy"] for _, item in elements.found if "data-remedy" in item]
    assert cures == ["passkey", "fresh-sign-in"]
    links = [item["href"] for tag, item in elements.found if tag == "a"]
    assert all(remedy["url"] in links for remedy in given["remedies"])


def test_a_denial_without_a_cure_names_the_owner() -> None:
    template, given = context("denied-none")
    html = pages.render(template, **given)
    assert "Write to Radia Perlman" in html
    assert "data-remedy" not in html


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"missing \['action'\]"):
        pages.render("login.html")


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown \['usrname'\]"):
        pages.render("login.html", action="/login", usrname="ada")


@pytest.mark.parametrize("name", ["_base.html", "../pages.py", "nothing.html"])
def test_only_pages_of_the_table_can_be_rendered(name: str) -> None:
    with pytest.raises(ValueError, match="no page"):
        pages.render(name)


@pytest.mark.parametrize("template", sorted(PAGES))
def test_required_and_optional_keys_do_not_overlap(template: str) -> None:
    page = PAGES[template]
    assert not set(page.required) & (set(page.optional) | set(EVERY_PAGE))


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>alert(1)</script></svg>",
        '<svg onload="alert(1)"><path d="M0 0"/></svg>',
        '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg><img src=x>',
        "plain",
    ],
)
def test_a_qr_code_that_is_not_one_is_refused(svg: str) -> None:
    with pytest.raises(ValueError, match="qr_svg"):
        pages.render("enrol.html", action="/enrol", step="totp", qr_svg=svg)


def test_segnos_own_svg_is_accepted_too() -> None:
    import segno

    svg = segno.make("otpauth://totp/x?secret=ABC", micro=False).svg_inline(scale=4)
    assert "<path" in page_filters.trusted_qr(svg)


def test_the_policy_allows_forms_to_end_at_an_app_and_nothing_inline() -> None:
    policy = pages.content_security_policy(["https://*.limen.localhost:8443"])
    assert "form-action 'self' https://*.limen.localhost:8443;" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_static_urls_change_with_their_content() -> None:
    for asset in pages.static_assets().values():
        assert asset.url == f"/.limen/static/{asset.name}?v={asset.digest}"
        assert asset.body


def test_the_stylesheet_reaches_for_nothing_outside() -> None:
    sheet = pages.static_assets()["limen.css"].body.decode()
    assert "url(" not in sheet
    assert "@import" not in sheet


@pytest.mark.parametrize(
    ("at", "said"),
    [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7300, "2 hours ago"), (-90_000, "in 1 day")],
)
def test_ages_are_said_in_words(at: float, said: str) -> None:
    now = 1_800_000_000.0
    assert f">{said}<" in page_filters.age_words(now - at, now)


def test_an_instant_is_said_in_utc_and_machine_readable() -> None:
    assert page_filters.clock_time(1_800_000_000.0) == (
        '<time datetime="2027-01-15T08:00:00+00:00">15 Jan 2027, 08:00 UTC</time>'
    )
    assert page_filters.clock_time("<b>") == "&lt;b&gt;"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/150.0 Safari/537.36 Edg/150",
            "Edge on Windows",
        ),
        ("git/2.47.0", "git"),
        ("", "Unknown browser"),
        ("something else", "something else"),
    ],
)
def test_a_browser_is_named_as_people_name_it(header: str, said: str) -> None:
    assert page_filters.agent_words(header) == said


def test_groups_of_an_id_join_to_the_id_itself() -> None:
    chunks = page_filters.in_chunks("0123456789ab")
    assert re.sub(r"<[^>]*>", "", chunks) == "0123456789ab"
    assert chunks.count("<span>") == 3
