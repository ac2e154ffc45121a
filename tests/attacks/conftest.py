"""One real Envoy for all attacks on the wire; each test starts with clean fakes."""

from collections.abc import Iterator

import pytest
from attack_rig import Target, attacked_demo
from envoy_rig import DOMAIN, Rig, app_config, running

from limen.core.catalogue import Catalogue, CorsConfig, IdentityConfig


def _catalogue(rig: Rig) -> Catalogue:
    named = IdentityConfig("headers", {"user": "Grafana-User", "groups": "X-Team"})
    apps = (
        app_config("wiki", rig.app_port, identity=named, max_body_bytes=100_000),
        app_config("files", rig.app_port, allow_encoded_slash=True),
        app_config("board", rig.app_port, cors=CorsConfig((f"https://wiki.{DOMAIN}",))),
    )
    return Catalogue(domain=DOMAIN, apps={app.name: app for app in apps})


@pytest.fixture(scope="session")
def _wire() -> Iterator[Rig]:
    with running(_catalogue, check_timeout_s=2.0) as rig:
        yield rig


@pytest.fixture
def wire(_wire: Rig) -> Rig:
    _wire.reset()
    return _wire


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """One whole system for all attacks on a system; its people are the attackers' own."""
    with attacked_demo() as attacked:
        yield attacked
