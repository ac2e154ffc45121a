"""Rendering: every page of Limen goes through `render`, and nothing a page needs comes from elsewhere.

Templates are filled with escaped text and strict about their context (`page_contexts.PAGES`). The pages
carry no inline style or script, so `content_security_policy` allows none.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import jinja2
import msgspec
import segno

from limen.console.page_contexts import ACCOUNT_URLS, EVERY_PAGE, PAGES
from limen.console.page_filters import FILTERS

STATIC_PREFIX = "/.limen/static/"
"""Where static files are, on every host: control answers `/.limen/*` on app hosts too."""

_MEDIA_TYPES: Mapping[str, str] = {
    "favicon.svg": "image/svg+xml",
    "limen.css": "text/css; charset=utf-8",
    "onward.js": "text/javascript; charset=utf-8",
    "passkey.js": "text/javascript; charset=utf-8",
}


class Asset(msgspec.Struct, frozen=True):
    """One static file. `digest` stands in its URL, so it may be cached for ever."""

    name: str
    media_type: str
    body: bytes
    digest: str

    @property
    def url(self) -> str:
        """The path a page links to."""
        return f"{STATIC_PREFIX}{self.name}?v={self.digest}"


def render(template: str, *, nonce: str | None = None, **context: object) -> str:
    """Return a page as HTML.

    Args:
        template: a key of `PAGES`.
        nonce: put on the script element, for a caller whose policy wants one.
        context: what `PAGES` lists for the template.

    Raises:
        ValueError: the template is unknown, or the context lacks a key or has an unknown one.
    """
    page = PAGES.get(template)
    if page is None:
        raise ValueError(f"There is no page {template!r}.")
    missing = [key for key in page.required if key not in context]
    known = {*page.required, *page.optional, *EVERY_PAGE}
    unknown = sorted(set(context) - known)
    if missing or unknown:
        raise ValueError(f"{template}: missing {missing}, unknown {unknown}.")
    values: dict[str, Any] = {**EVERY_PAGE, **page.optional, **context, "nonce": nonce}
    if "urls" in page.optional:
        values["urls"] = {**ACCOUNT_URLS, **values["urls"]}
    return _environment().get_template(template).render(values)


def qr_svg(text: str) -> str:
    """Return the QR code of `text` as the plain SVG that `enrol.html` takes."""
    code = segno.make(text, error="m", micro=False)
    return str(code.svg_inline(scale=1, border=0, omitsize=True, svgclass=None, lineclass=None))


@cache
def static_assets() -> Mapping[str, Asset]:
    """Return every static file by name. Names outside this table do not exist."""
    folder = files("limen.console") / "static"
    found = {}
    for name, media_type in _MEDIA_TYPES.items():
        body = (folder / name).read_bytes()
        found[name] = Asset(name, media_type, body, hashlib.sha256(body).hexdigest()[:12])
    return MappingProxyType(found)


def content_security_policy(form_targets: Iterable[str] = ()) -> str:
    """Return the policy that all pages meet.

    `form_targets` are further origins a form's answer may redirect to: browsers hold `form-action`
    against redirects too, and a sign-in ends at an app (`https://*.limen.localhost:8443`).
    """
    targets = " ".join(("'self'", *form_targets))
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'"
    )


def page_headers(form_targets: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers of every page.

    Referrers stay `same-origin`, not `no-referrer`, under which browsers post forms with `Origin: null`.
    """
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": content_security_policy(form_targets),
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("limen.console", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(FILTERS)
    environment.globals["asset"] = lambda name: static_assets()[name].url
    return environment
