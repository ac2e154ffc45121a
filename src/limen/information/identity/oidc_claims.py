"""From claims that hold to an identity: names, an address that is verified, groups or why there are none.

Groups may be listed, or pointed to (OIDC Core 5.6.2; Entra's overage: `_claim_names`, `hasgroups`). A pointer
is never followed as it stands: then the token would say where Limen's access token goes. The bundle names the
endpoint, or another source lists the groups; until then they are unknown.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from limen.core.errors import Unavailable
from limen.core.identity_config import OidcConfig
from limen.core.ids import Instant
from limen.information.identity.claim_rules import read_values, render
from limen.information.identity.provider_http import ProviderHttp
from limen.information.identity.upstream_assurance import assess_upstream
from limen.information.identity.upstream_identity import UpstreamIdentity

GROUPS_MAX = 100_000  # of one identity
PAGES_MAX = 500  # of the endpoint that lists them
UNKNOWN_AGE_S = 900.0  # a sign-in whose age the provider does not say is never fresh


def identify(
    config: OidcConfig, claims: Mapping[str, Any], userinfo: Mapping[str, Any], now: Instant
) -> UpstreamIdentity:
    """Return who it is. What userinfo says counts where the ID token, which is signed, says nothing."""
    said = {**userinfo, **claims}
    groups, missing = read_groups(said, config.groups_claim)
    return UpstreamIdentity(
        source=config.source,
        subject=str(claims["sub"]),
        username=_text(said, config.username_claim),
        name=_text(said, "name"),
        email=_email(config, claims) or _email(config, userinfo),
        groups=groups,
        groups_missing=missing,
        assurance=assess_upstream(
            claims.get("amr"), claims.get("acr"), amr_table=config.amr, acr_table=config.acr
        ),
        auth_at=min(now, auth_time(claims) or now - UNKNOWN_AGE_S),
        claims=said,
        sid=_text(claims, "sid"),
        issuer=config.issuer,
    )


def auth_time(claims: Mapping[str, Any]) -> Instant | None:
    """Return when the person signed in there, if the provider says so."""
    value = claims.get("auth_time")
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53
    return float(value) if good and isinstance(value, int | float) else None


def read_groups(said: Mapping[str, Any], claim: str) -> tuple[tuple[str, ...] | None, str]:
    """Return the groups, or None and why they are not listed."""
    pointed = said.get("_claim_names")
    if (isinstance(pointed, Mapping) and claim in pointed) or _is_true(said.get("hasgroups")):
        return None, "the token only points to the groups, as there are too many for it"
    listed = said.get(claim)
    if listed is None:
        listed = list(read_values(said, claim))
    if isinstance(listed, str):
        listed = [listed] if listed else []
    if not isinstance(listed, list):
        return None, f"the claim {claim} is not a list"
    if len(listed) > GROUPS_MAX:
        return None, f"the claim {claim} has more than {GROUPS_MAX} values"
    return tuple(sorted({group for group in listed if isinstance(group, str)})), ""


def fetch_groups(
    http: ProviderHttp, config: OidcConfig, access_token: str
) -> tuple[tuple[str, ...] | None, str]:
    """Return the groups that the bundle's endpoint lists for this access token, or None and why not.

    The answer is an object whose `value` (or groups claim) is a list of names, or of objects that have
    `groups_field`; `@odata.nextLink` leads on, at the same origin.
    """
    url: str | None = config.groups_endpoint
    found: set[str] = set()
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) >= PAGES_MAX or len(found) > GROUPS_MAX:
            return None, "the groups endpoint has no end"
        seen.add(url)
        try:
            page = http.get_json(url, {"Authorization": f"Bearer {access_token}"})
        except Unavailable:
            return None, "the groups endpoint does not answer as it should"
        listed = page.get("value", page.get(config.groups_claim))
        if not isinstance(listed, list):
            return None, "the groups endpoint sends no list"
        found.update(_named(listed, config.groups_field))
        onward = page.get("@odata.nextLink")
        if onward is not None and not _same_origin(onward, url):
            return None, "the groups endpoint leads elsewhere"
        url = onward
    return tuple(sorted(found)), ""


def _named(listed: list[Any], field: str) -> set[str]:
    named = {
        one.get(field) if isinstance(one, Mapping) else one for one in listed if not isinstance(one, list)
    }
    return {one for one in named if isinstance(one, str) and one}


def _same_origin(onward: object, url: str) -> bool:
    if not isinstance(onward, str):
        return False
    there, here = urlsplit(onward), urlsplit(url)
    return (there.scheme, there.netloc) == (here.scheme, here.netloc)


def _email(config: OidcConfig, document: Mapping[str, Any]) -> str:
    """Return the address of one document, if that document says that it is verified: two are not mixed."""
    verified = _is_true(document.get("email_verified"))
    return _text(document, "email") if verified or config.trust_email else ""


def _is_true(value: object) -> bool:
    return value is True or value == "true"  # some providers send text; 1 is neither


def _text(document: Mapping[str, Any], claim: str) -> str:
    value = document.get(claim)
    if isinstance(value, str):
        return value
    found = read_values(document, claim)
    return render(found[0]) if len(found) == 1 and isinstance(found[0], str) else ""
