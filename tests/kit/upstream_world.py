"""A control with two OpenID providers side by side, `corp` and `partner`, each of which can be bent."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from fake_provider import FakeProvider, Network
from identity_world import Browser, World

from limen.core.clock import FakeClock
from limen.core.identity_config import OidcConfig, SourceRules
from limen.core.secret import Secret
from limen.store import directory, identities

CORP = "https://idp.corp.example"
PARTNER = "https://login.partner.example"
GRACE = {
    "preferred_username": "Grace",
    "name": "Grace Hopper",
    "email": "grace@corp.example",
    "email_verified": True,
    "groups": ["staff"],
}


class UpstreamWorld:
    """`world` is the control; `corp` and `partner` are the providers."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        clock = FakeClock()
        self.corp, self.partner = FakeProvider(clock, CORP), FakeProvider(clock, PARTNER)
        self.corp.userinfo = dict(GRACE)
        self.partner.userinfo = {**GRACE, "email": "grace@partner.example"}
        configs = (
            OidcConfig("corp", CORP, "limen", client_secret="corp-secret", people=SourceRules(**rules)),
            OidcConfig("partner", PARTNER, "limen-at-partner", auth="none"),
        )
        self.world = World(
            folder,
            oidc=configs,
            clock=clock,
            transport=Network(self.corp, self.partner),
            secret=lambda name: Secret(f"<{name}>"),
        )
        self.world.add("ada")

    def configure(self, name: str, **changes: Any) -> None:
        """Change a provider of the bundle; `people` may be a mapping of `SourceRules`."""
        people = changes.pop("people", None)
        if isinstance(people, Mapping):
            changes["people"] = SourceRules(**people)
        elif people is not None:
            changes["people"] = people
        oidc = tuple(
            msgspec.structs.replace(one, **changes) if one.name == name else one
            for one in self.world.catalogue.oidc
        )
        self.world.catalogue = msgspec.structs.replace(self.world.catalogue, oidc=oidc)

    def remove(self, name: str) -> None:
        """Take a provider out of the bundle."""
        oidc = tuple(one for one in self.world.catalogue.oidc if one.name != name)
        self.world.catalogue = msgspec.structs.replace(self.world.catalogue, oidc=oidc)

    def provider(self, name: str) -> FakeProvider:
        """Return a provider."""
        return self.corp if name == "corp" else self.partner

    def sent(self, browser: Browser, name: str = "corp") -> str:
        """Begin, and return where the browser is sent."""
        answer = browser.get(f"/oidc/{name}/start")
        assert answer.is_redirect, answer.text
        return str(answer.headers["location"])

    def callback(self, browser: Browser, name: str = "corp", **more: str) -> str:
        """Begin, sign in there, and return the address that the browser is sent back to."""
        return self.provider(name).authorize(self.sent(browser, name), **more)

    def sign_in(self, name: str = "corp", browser: Browser | None = None) -> int:
        """Sign in; return the status of the answer."""
        browser = browser or self.world.browser()
        return browser.get(self.callback(browser, name)).status_code

    def person(self, username: str) -> directory.Person | None:
        """Return a person."""
        with self.world.store.read() as connection:
            return directory.find_person(connection, username)

    def links(self, username: str) -> tuple[str, ...]:
        """Return a person's links, as `source subject`."""
        with self.world.store.read() as connection:
            found = identities.list_identities(connection, username)
        return tuple(f"{one.source} {one.subject}" for one in found)

    def live(self, username: str) -> int:
        """Return how many sessions a person has."""
        return len(self.world.parts.sessions.list_live(username))

    @property
    def why(self) -> str:
        """The cause of the last refusal, for the operator."""
        found = [event for event in self.world.events if event.kind == "sign_in.failed"]
        return str(found[-1].data["why"]) if found else ""


@contextmanager
def upstream_world(folder: Path, **rules: Any) -> Iterator[UpstreamWorld]:
    """Yield a world, and close it."""
    made = UpstreamWorld(folder, **rules)
    try:
        yield made
    finally:
        made.world.store.close()
