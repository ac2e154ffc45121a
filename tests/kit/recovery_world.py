"""A world in which people recover: `World` with an engine under the starter bundle, notices, and a pump."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from identity_world import AUTH, DOMAIN, Browser, World
from prometheus_client import CollectorRegistry
from reassess_world import Journal, load_cached

from limen.administrator.authority import Authority
from limen.administrator.change_events import apply_noted
from limen.administrator.replica import Replica
from limen.administrator.session_values import Browser as From
from limen.administrator.session_values import Visit
from limen.core.changes import BundleFact, Change
from limen.core.clock import FakeClock
from limen.core.identity_config import NoticeConfig, SmtpConfig, SourcesConfig, WebhookConfig
from limen.core.ids import BundleId
from limen.core.secret import Secret
from limen.engine.starter import starter_files
from limen.services.notices import NoticePump
from limen.store import directory
from limen.store.notices import StoredNotice, list_notices

SECRETS = {"mail": "correct horse", "hook": "whsec_" + "c2VjcmV0IG9mIHRlc3RzLCAzMiBieXRlcyBsb25nIQ=="}
SMTP = SmtpConfig("localhost", f"limen@{DOMAIN}", port=9, tls="none")
HOOK = WebhookConfig("http://127.0.0.1:9/hook", "hook")


class RecoveryWorld(World):
    """Ada, who may lose her factors; hugo of the help desk; root, who administers. All have TOTP."""

    def __init__(self, folder: Path, notices: NoticeConfig | None = None) -> None:
        clock = FakeClock()
        self.replica = Replica(load_cached)
        self.authority = Authority(self.replica, Journal(), clock, "control")
        super().__init__(folder, clock=clock, authority=self.authority)
        self.configure(notices=NoticeConfig(smtp=SMTP) if notices is None else notices)
        self.store.follow(
            lambda snapshot: self.authority.update(lambda replica: replica.apply_snapshot(snapshot)),
            self._follow,
        )
        with self.store.transaction("limen", "start") as tx:
            tx.change("bundle", "active", BundleFact("active", BundleId("starter"), starter_files(DOMAIN)))
        for name, group in (("ada", ""), ("hugo", "limen-helpdesk"), ("root", "limen-admins")):
            self.add(name)
            if group:
                self.put(name, group)
        self.pump = NoticePump(self.parts.desk, lambda name: Secret(SECRETS[name]), CollectorRegistry())

    def _follow(self, changes: tuple[Change, ...]) -> None:
        def apply(replica: Replica) -> None:
            apply_noted(replica, changes, epoch=self.store.epoch, node="control")

        self.authority.update(apply)

    def configure(self, **sources: Any) -> None:
        """Change a part of `catalogue.sources`."""
        now: SourcesConfig = msgspec.structs.replace(self.catalogue.sources, **sources)
        self.catalogue = msgspec.structs.replace(self.catalogue, sources=now)

    def put(self, name: str, group: str) -> None:
        """Put somebody into a group, which is made if it is not there."""
        with self.store.transaction("test", "a role") as tx:
            if all(one.id != group for one in directory.list_groups(tx.connection)):
                directory.create_group(tx, group)
            directory.add_member(tx, group, name)

    def announce(self) -> None:
        """Let the pump announce recoveries; sending is another matter."""
        self.parts.recovery.announce()

    def queued(self) -> list[StoredNotice]:
        """Return what waits to be sent."""
        with self.store.read() as connection:
            return list(list_notices(connection, 100))

    def told(self, person: str, kind: str = "recovery") -> list[dict[str, Any]]:
        """Return the facts of what waits for somebody, oldest first."""
        rows = [row for row in self.queued() if row.person == person and row.kind == kind]
        return [dict(self.parts.desk.notices.open(row).facts) for row in rows]

    def mailed_link(self, person: str = "ada") -> str:
        """Return the path of the last recovery link that somebody was sent."""
        links = [str(facts["link"]) for facts in self.told(person) if facts.get("link")]
        assert links[-1].startswith(AUTH)
        return urlsplit(links[-1]).path

    def signals(self, person: str) -> tuple[str, ...]:
        """Return what gateways are told about somebody."""
        with self.store.read() as connection:
            return directory.get_person(connection, person).fact.signals


def begin(browser: Browser, name: str = "ada") -> str:
    """Ask for recovery; return what the page says to read out."""
    answer = browser.submit(browser.get("/recover"), {"username": name})
    assert answer.status_code == 303, answer.text
    page = browser.get("/recover/next")
    assert page.status_code == 200
    return page.text.partition('id="spoken">')[2].partition("<")[0]


def set_up(world: World, browser: Browser, name: str, password: str) -> httpx.Response:
    """Go through the new enrolment of a browser that may; return the answer to the last step."""
    page = browser.follow(browser.submit(browser.get("/recover/next"), {}))
    browser.follow(browser.submit(page, {"password": password, "password_again": password}))
    pairing = browser.follow(browser.submit(browser.get("/enrol/second"), {"method": "totp"}))
    pending = world.parts.enrolment.pending(
        Visit(From("192.0.2.1"), None, browser.cookie("__Host-limen-signin") or "")
    )
    assert pending is not None and pending.secret is not None
    world.seeds[name] = pending.secret
    return browser.submit(pairing, {"code": world.code(name)})


__all__ = ["HOOK", "SECRETS", "SMTP", "RecoveryWorld", "begin", "set_up"]
