"""A console whose people sign in through a SAML provider that a test plays."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import msgspec
import saml_forger as forger
from identity_world import AUTH, Browser, World, forms
from saml_forger import Asking, Said

from limen.administrator.active import load_bundle
from limen.administrator.authority import Authority
from limen.administrator.change_events import apply_noted
from limen.administrator.policies import HOST_OPERATOR, PolicyAdministrator
from limen.administrator.replica import Replica
from limen.core.changes import WorkloadFact
from limen.core.clock import FakeClock
from limen.core.identity_config import SamlConfig, SourcesConfig
from limen.core.secret import Secret
from limen.engine.starter import starter_files
from limen.store import directory
from limen.store.saml import SamlKeyRow, add_saml_key

CORP = SamlConfig(name="corp", metadata=forger.idp_metadata(forger.party()), title="Corp")
ENTITY = f"{AUTH}/saml/corp/metadata"
CONSUMER = f"{AUTH}/saml/corp/acs"


class SamlWorld(World):
    """Control with one SAML provider."""

    def __init__(self, folder: Path, config: SamlConfig = CORP, **more: Any) -> None:
        super().__init__(folder, **more)
        keep_key(self)
        self.use(config)

    def use(self, *configs: SamlConfig) -> None:
        """Change the providers of the bundle."""
        self.catalogue = msgspec.structs.replace(self.catalogue, sources=SourcesConfig(saml=configs))

    def ask(self, browser: Browser, url: str = "/saml/corp/start") -> Asking:
        """Begin a sign-in; return what the provider is asked."""
        answer = browser.get(url)
        assert answer.is_redirect, answer.text
        return forger.read_request(answer.headers["location"])

    def say(self, asked: Asking, **changes: Any) -> Said:
        """Return a good answer, but for what a test changes."""
        said = Said(asked.ident, asked.consumer, asked.issuer, self.clock.now())
        return msgspec.structs.replace(said, **changes)

    def bring(self, browser: Browser, asked: Asking, xml: bytes) -> httpx.Response:
        """Bring an answer: by a form from another site, without cookies, as browsers do it."""
        stranger = self.browser(browser.ip)
        foreign = {"origin": "https://idp.example", "sec-fetch-site": "cross-site"}
        posted = stranger.http.post(
            "/saml/corp/acs", data=forger.form(xml, asked.relay_state), headers={**browser.headers, **foreign}
        )
        return browser.get(posted.headers["location"]) if posted.is_redirect else posted

    def sign_in(self, browser: Browser, **changes: Any) -> httpx.Response:
        """Sign in, in one go."""
        asked = self.ask(browser)
        return self.bring(browser, asked, forger.response(self.say(asked, **changes), forger.party()))

    def why(self) -> str:
        """Return why the last sign-in failed."""
        found = [event for event in self.events if event.kind in ("sign_in.failed", "saml.refused")]
        return str(found[-1].data["why"]) if found else ""


# --- Limen as the identity provider --------------------------------------------------------------------

SSO = f"{AUTH}/saml-idp/sso"
IDP = f"{AUTH}/saml-idp/metadata"

BUNDLE = """
domain: limen.localhost
clients:
  crm:
    title: The CRM
    owner: root
    allow: [group:staff]
    saml:
      metadata: crm.xml
      attributes: {mail: email, urn:oid:2.5.4.11: department, groups: groups, cn: name}
      session: 10m
"""


class _Journal:
    """Keeps nothing but the records."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, record: Any, *, urgent: bool = False) -> None:
        self.records.append(record)

    def append_many(self, items: Any, *, urgent: bool = False) -> None:
        self.records.extend(items)

    def salted(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()


class ClientWorld(World):
    """Control with an app that speaks SAML, and an engine that decides who may sign in to it."""

    def __init__(
        self, folder: Path, metadata: str = "", bundle: str = BUNDLE, clock: FakeClock | None = None
    ) -> None:
        clock = clock or FakeClock()
        self.journal = _Journal()
        replica = Replica(load_bundle)
        self.authority = Authority(replica, self.journal, clock, "control")
        super().__init__(folder, clock=clock, authority=self.authority)
        keep_key(self)
        self.store.follow(
            lambda snapshot: self.authority.update(lambda held: held.apply_snapshot(snapshot)),
            lambda changes: self.authority.update(
                lambda held: apply_noted(held, changes, epoch=self.store.epoch, node="control")
            ),
        )
        with self.store.transaction("test", "start") as tx:
            tx.change("workload", HOST_OPERATOR.id, WorkloadFact(HOST_OPERATOR.id, owner=""))
        starter = {k: v for k, v in starter_files("limen.localhost").items() if k.startswith("policies/")}
        self.files = {**starter, "limen.yaml": bundle, "crm.xml": metadata or forger.sp_metadata()}
        self.apply(self.files)

    def apply(self, files: dict[str, str]) -> None:
        """Put a bundle in force."""
        PolicyAdministrator(self.store, self.authority).apply(files, actor="test", reason="test", first=True)
        self.catalogue = self.authority.active().catalogue

    def join(self, person: str, *groups: str) -> None:
        """Put somebody into groups."""
        with self.store.transaction("test", "join") as tx:
            for group in groups:
                directory.add_member(tx, group, person)

    def answer(self, page: httpx.Response) -> tuple[str, dict[str, str], str]:
        """Return where a page posts to, its fields, and the response that it carries, XML."""
        (url, fields) = forms(page.text)[0]
        return url, fields, base64.b64decode(fields["SAMLResponse"]).decode()


def keep_key(world: World) -> None:
    """Give a world a key that was made once: making one takes a second."""
    party = forger.party("limen")
    row = SamlKeyRow("limen-test", party.certificate, world.clock.now(), world.clock.now())
    with world.store.transaction("test", "keep a key") as tx:
        add_saml_key(tx, row, Secret(party.private_pem), world.sealer)
