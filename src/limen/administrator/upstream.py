"""Signing in through an identity provider: who its subject is here, and which groups it says.

An upstream identity is `<provider>:<sub>`, nothing else: a provider that sends the username or e-mail
address of somebody here does not become that person.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping

import httpx
import msgspec

from limen.administrator.desk import Desk, Flow, FlowData
from limen.administrator.ledger import Entry
from limen.administrator.session_values import Answer, Over, Proof, TooMany, Visit, Wrong
from limen.administrator.sign_in import Attempt, SignIn
from limen.administrator.sign_in_life import SignInEvent, SignInState
from limen.core.errors import Conflict, Invalid, LimenError, NotFound, Refused
from limen.core.identity_config import OidcConfig
from limen.core.secret import Secret
from limen.information.identity import throttle
from limen.information.identity.assurance import assess_methods
from limen.information.identity.oidc import UpstreamFlow, UpstreamProvider
from limen.information.identity.upstream_identity import UpstreamIdentity
from limen.store import credentials as keys
from limen.store import directory, identities
from limen.store.credentials import Credentials

RESERVED_GROUPS = frozenset({"limen-admins"})
"""Groups that only local administrators give: a provider must not be able to name its own."""

GROUP_LENGTH_MAX = 128  # characters, as the directory's
_NOT_IN_USERNAMES = re.compile(r"[^a-z0-9._@-]+")


class Upstream:
    """The providers of the active bundle. `secret` reads a stored secret by name."""

    def __init__(
        self,
        desk: Desk,
        sign_in: SignIn,
        secret: Callable[[str], Secret[str]],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._desk = desk
        self._sign_in = sign_in
        self._secret = secret
        self._transport = transport
        self._providers: dict[str, UpstreamProvider] = {}

    def start(
        self, name: str, visit: Visit, *, destination: str, max_age_s: int | None = None
    ) -> tuple[str, Secret[str]] | TooMany:
        """Return where to send the browser, and the flow token it must bring back.

        Raises:
            NotFound: no such provider.
            Unavailable: it does not answer.
        """
        desk, provider = self._desk, self._provider(name)
        with desk.ledger.entry("nobody", f"sign in through {name}", ip=visit.browser.ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(visit.browser.ip))
        if wait_s:
            return TooMany(wait_s)
        url, flow = provider.start(self.redirect_uri(name), desk.clock.now(), max_age_s=max_age_s)
        attempt = Attempt(visit)
        sealed = desk.sealer.seal(Secret(msgspec.json.encode(flow).decode()), f"upstream:{name}")
        attempt.data = FlowData(upstream=sealed, destination=destination)
        with desk.ledger.entry("nobody", f"sign in through {name}", ip=visit.browser.ip) as entry:
            self._sign_in.advance(entry, attempt, SignInState.BEGIN, SignInEvent.SENT_UPSTREAM)
        assert attempt.token is not None
        return url, attempt.token

    def finish(self, name: str, query: Mapping[str, str], visit: Visit) -> tuple[Answer, str]:
        """Take the provider's answer; return what it comes to, and the destination that was asked for.

        Raises:
            Refused: the answer does not hold, or this identity may not come in.
            Unavailable: the provider does not answer.
        """
        desk, provider = self._desk, self._provider(name)
        with desk.ledger.entry("nobody", f"answer of {name}", ip=visit.browser.ip) as entry:
            flow = desk.find_flow(entry.tx.connection, visit.flow_token, SignInState.UPSTREAM)
            if flow is None:
                return Over(), ""
            desk.close_flow(entry.tx.connection, visit.flow_token)  # law I2: looked at once
        remembered = self._open(flow, name)
        try:
            identity = provider.finish(
                remembered,
                query,
                redirect_uri=self.redirect_uri(name),
                client_secret=self._client_secret(provider.config),
                now=desk.clock.now(),
            )
        except LimenError:
            self._fail(visit, "upstream")
            raise
        return self._admit(identity, provider.config, visit), flow.data.destination

    def redirect_uri(self, name: str) -> str:
        """Return where the provider sends the browser back to."""
        return f"{self._desk.auth_origin}/oidc/{name}/callback"

    # --- who that is here ----------------------------------------------------------------------------

    def _admit(self, identity: UpstreamIdentity, config: OidcConfig, visit: Visit) -> Answer:
        desk = self._desk
        with desk.ledger.entry("nobody", f"sign in through {config.name}", ip=visit.browser.ip) as entry:
            username = identities.find_owner(entry.tx.connection, identity.source, identity.subject)
            owner = keys.load_credentials(entry.tx.connection, username) if username else None
            if owner is None and config.people.create:
                owner = self._create(entry, identity)
            attempt = Attempt(visit, why="unknown" if owner is None else "inactive")
            if owner is None or not owner.active_at(entry.tx.now):
                attempt.person = owner.person if owner else None
                return self._sign_in.advance(entry, attempt, SignInState.UPSTREAM, SignInEvent.UPSTREAM_WRONG)
            entry.act_as(owner.person)
            groups = map_groups(identity.groups or (), config.people.group_prefix)
            directory.sync_memberships(entry.tx, owner.person, identity.source, groups)
            methods = (identity.source,)
            attempt.person = owner.person
            attempt.proof = Proof(methods, assess_methods(methods, identity.assurance), identity.auth_at)
            return self._sign_in.advance(entry, attempt, SignInState.UPSTREAM, SignInEvent.UPSTREAM_RIGHT)

    def _create(self, entry: Entry, identity: UpstreamIdentity) -> Credentials | None:
        """Make the person at first sign-in.

        Raises:
            Refused: the username is taken here, or cannot be one.
        """
        username = derive_username(identity.username)
        try:
            directory.create_person(
                entry.tx, username, name=identity.name, email=identity.email, source=identity.source
            )
            identities.link_identity(entry.tx, identity.source, identity.subject, username)
        except (Conflict, Invalid) as error:
            raise Refused(
                f"No person can be made here for this account of {identity.provider}: {error.message}",
                remedy="Ask an administrator to look at the username that the provider sends.",
                code="UPSTREAM_USERNAME",
            ) from error
        entry.note("person.created", target=username, by=identity.source)
        return keys.load_credentials(entry.tx.connection, username)

    # --- inside --------------------------------------------------------------------------------------

    def _provider(self, name: str) -> UpstreamProvider:
        config = next((c for c in self._desk.catalogue().oidc if c.name == name), None)
        if config is None:
            raise NotFound("There is no such identity provider.", remedy="Start again at the sign-in page.")
        known = self._providers.get(name)
        if known is None or known.config != config:
            known = self._providers[name] = UpstreamProvider(config, self._transport)
        return known

    def _client_secret(self, config: OidcConfig) -> Secret[str] | None:
        return self._secret(config.client_secret) if config.client_secret else None

    def _open(self, flow: Flow, name: str) -> UpstreamFlow:
        opened = self._desk.sealer.open(flow.data.upstream, f"upstream:{name}")
        return msgspec.json.decode(opened.reveal(), type=UpstreamFlow)

    def _fail(self, visit: Visit, why: str) -> None:
        attempt = Attempt(visit, why=why)
        with self._desk.ledger.entry("nobody", "sign in through a provider", ip=visit.browser.ip) as entry:
            answer = self._sign_in.advance(entry, attempt, SignInState.UPSTREAM, SignInEvent.UPSTREAM_WRONG)
            assert isinstance(answer, Wrong)


def derive_username(claimed: str) -> str:
    """Return a username made of what a provider sends: lower case, without what usernames cannot hold."""
    plain = unicodedata.normalize("NFKD", claimed).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_USERNAMES.sub("-", plain).strip("-._")


def map_groups(names: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """Return the directory's names of upstream groups. Reserved ones and unusable names are left out."""
    named = {unicodedata.normalize("NFC", f"{prefix}{name}".strip()) for name in names if name.strip()}
    usable = (n for n in named if len(n) <= GROUP_LENGTH_MAX and n.isprintable())
    return tuple(sorted(name for name in usable if name not in RESERVED_GROUPS))
