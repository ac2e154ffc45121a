"""Which provider somebody goes to: by the domain of what they typed, by a button, or by where they came from.

Domains are compared as they stand, ASCII alone: what merely looks like `corp.example` leads nowhere.
Providers that have domains have no button: the sign-in page does not list partners to strangers.
"""

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from limen.administrator.upstream_groups import rules_of
from limen.administrator.upstream_names import clean_email, domain_of
from limen.console import answers
from limen.console.destinations import Target
from limen.console.guard import Caller
from limen.core.catalogue import Catalogue

HINT_LENGTH_MAX = 128


def titles_of(catalogue: Catalogue) -> dict[str, str]:
    """Return every provider's title, by source, in the bundle's order."""
    found = {config.source: config.title or config.name for config in catalogue.oidc}
    return found | {f"saml:{config.name}": config.title or config.name for config in catalogue.sources.saml}


def buttons(catalogue: Catalogue, target: Target) -> list[dict[str, Any]]:
    """Return the providers that the sign-in page offers to everybody."""
    rules = rules_of(catalogue)
    return [
        {"name": title, "url": start_url(source, target)}
        for source, title in titles_of(catalogue).items()
        if not rules[source].domains
    ]


def routes_by_domain(catalogue: Catalogue) -> bool:
    """Say whether the name is asked for first, as its domain may lead elsewhere."""
    return any(rules.domains for rules in rules_of(catalogue).values())


def provider_for(catalogue: Catalogue, username: str) -> str | None:
    """Return the source whose domain a name is of, or None."""
    domain = domain_of(clean_email(username.strip()))
    if not domain:
        return None
    return next((source for source, rules in rules_of(catalogue).items() if domain in rules.domains), None)


def start_url(source: str, target: Target, hint: str = "") -> str:
    """Return where a sign-in through a provider begins."""
    kind, _, name = source.partition(":")
    url = answers.with_flow(f"/{kind}/{name}/start", target)
    if not hint:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'hint': hint[:HINT_LENGTH_MAX]})}"


def go_on(caller: Caller, title: str, url: str) -> Response:
    """Answer a form with a page that goes on by itself.

    Not a redirect: browsers hold `form-action` against all that follows a form, and a provider's pages are at
    addresses that only it knows.
    """
    return answers.page(
        caller, "onward.html", title=f"Going on to {title}", url=url, label=f"Go on to {title}"
    )
