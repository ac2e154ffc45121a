"""What a machine's token is to be good for: some apps and services, everything, or one API (RFC 8707).

A token that is good for less is worth less to whoever steals it. What it opens, policy decides at each use.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from limen.administrator.oauth.values import OAuthRefused
from limen.core.catalogue import ADMIN_APP, Catalogue
from limen.core.client_config import ClientConfig

APPS_MAX = 20
TEXT_MAX = 2_000  # characters


class Target(msgspec.Struct, frozen=True):
    """What a token is for. `apps`: names of apps and services, empty for all; or else one API."""

    apps: tuple[str, ...] = ()
    api: ClientConfig | None = None


def parse_target(form: Mapping[str, str], catalogue: Catalogue) -> Target:
    """Return what `audience` (names, separated by spaces) and `resource` (an address) ask for.

    Raises:
        OAuthRefused: `invalid_target`, for what is not in the bundle.
    """
    audience, resource = form.get("audience", ""), form.get("resource", "")
    if len(audience) > TEXT_MAX or len(resource) > TEXT_MAX:
        raise _unknown()
    wanted = [name for name in audience.split(" ") if name]
    if resource:
        wanted.append(_named_by(resource, catalogue))
    apis = [api for name in wanted if (api := _api(name, catalogue)) is not None]
    if apis:
        if len(set(wanted)) > 1:
            raise OAuthRefused("invalid_target", "A token for an API is for that one alone.")
        return Target(api=apis[0])
    known = {*catalogue.apps, *catalogue.services, ADMIN_APP}
    if len(wanted) > APPS_MAX or not known.issuperset(wanted):
        raise _unknown()
    return Target(apps=tuple(sorted(set(wanted))))


def _api(name: str, catalogue: Catalogue) -> ClientConfig | None:
    for client in catalogue.clients.values():
        if client.audience is not None and name in (client.name, client.audience):
            return client
    return None


def _named_by(resource: str, catalogue: Catalogue) -> str:
    """Return the name of the app, service or API that an address is of."""
    if _api(resource, catalogue) is not None:
        return resource
    try:
        parts = urlsplit(resource)
    except ValueError:
        raise _unknown() from None
    if parts.scheme == "https" and parts.hostname and parts.username is None and not parts.fragment:
        hosts = {app.host: app.name for app in catalogue.apps.values()}
        hosts |= {service.host: service.name for service in catalogue.services.values()}
        if parts.hostname in hosts:
            return hosts[parts.hostname]
    raise _unknown()


def _unknown() -> OAuthRefused:
    return OAuthRefused("invalid_target", "There is no such app, service or API.")
