"""Signing in through an OpenID provider: there, and back. Who its subject is here is the admission's to say.

A flow is for one thing: to sign in, or to link the provider's account to the person who is signed in already.
The second is begun by a form of theirs after a fresh sign-in, and ends only while they are signed in.
"""

from collections.abc import Callable, Mapping

import httpx
import msgspec

from limen.administrator.admission import Admission
from limen.administrator.desk import Desk, Flow, FlowData
from limen.administrator.session_values import Answer, Over, TooMany, Visit
from limen.administrator.sign_in import Attempt, SignIn
from limen.administrator.sign_in_life import SignInEvent, SignInState
from limen.core.errors import Conflict, Invalid, NotFound, Unavailable
from limen.core.identity_config import OidcConfig
from limen.core.secret import Secret
from limen.information.identity import throttle
from limen.information.identity.oidc import UpstreamFlow, UpstreamProvider
from limen.information.identity.oidc_tokens import Sign, UpstreamRefused, refused
from limen.information.identity.upstream_identity import UpstreamIdentity
from limen.store import identities

LINK = "link"  # purpose of a flow that links an account
LOGIN_HINT_MAX = 256  # characters


class Linked(msgspec.Struct, frozen=True):
    """An account of a provider now belongs to whoever is signed in. Their session stays what it was."""

    source: str


class Upstream:
    """The OpenID providers of the active bundle.

    Args:
        desk, sign_in: what ways of signing in share.
        secret: reads a stored secret by name.
        transport: instead of the network, in tests.
        sign: for `private_key_jwt`.
    """

    def __init__(
        self,
        desk: Desk,
        sign_in: SignIn,
        secret: Callable[[str], Secret[str]],
        transport: httpx.BaseTransport | None = None,
        sign: Sign | None = None,
    ) -> None:
        self.admission = Admission(desk, sign_in)
        self._desk = desk
        self._sign_in = sign_in
        self._secret = secret
        self._transport = transport
        self._sign = sign
        self._providers: dict[str, UpstreamProvider] = {}

    # --- there ---------------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        visit: Visit,
        *,
        destination: str,
        max_age_s: int | None = None,
        need: str = "",
        login_hint: str = "",
        link_to: str | None = None,
    ) -> tuple[str, Secret[str]] | TooMany:
        """Return where to send the browser, and the flow token it must bring back.

        Args:
            name: the provider.
            visit: the browser.
            destination: where the sign-in leads, as it was given.
            max_age_s: how young the sign-in there must be.
            need: what a session lacks: asks for the provider's `step_up` of it.
            login_hint: what the person typed as their name.
            link_to: the person to whom the account is to be linked; None to sign in.

        Raises:
            NotFound: no such provider.
            Unavailable: it does not answer.
        """
        desk, provider = self._desk, self.provider(name)
        with desk.ledger.entry("nobody", f"sign in through oidc:{name}", ip=visit.browser.ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(visit.browser.ip))
        if wait_s:
            return TooMany(wait_s)
        url, flow = provider.start(
            self.redirect_uri(name),
            desk.clock.now(),
            max_age_s=max_age_s,
            acr_values=provider.config.step_up.get(need, ()),
            login_hint=login_hint[:LOGIN_HINT_MAX],
        )
        attempt = Attempt(visit, person=link_to)
        sealed = desk.sealer.seal(Secret(msgspec.json.encode(flow).decode()), f"upstream:{name}")
        attempt.data = FlowData(
            upstream=sealed, destination=destination, purpose=LINK if link_to is not None else ""
        )
        with desk.ledger.entry("nobody", f"sign in through oidc:{name}", ip=visit.browser.ip) as entry:
            self._sign_in.advance(entry, attempt, SignInState.BEGIN, SignInEvent.SENT_UPSTREAM)
        assert attempt.token is not None
        return url, attempt.token

    # --- and back ------------------------------------------------------------------------------------

    def finish(self, name: str, query: Mapping[str, str], visit: Visit) -> tuple[Answer | Linked, str]:
        """Take the provider's answer; return what it comes to, and the destination that was asked for.

        Every reason why it does not hold is one answer, `Wrong`, and its own words in `sign_in.failed`.

        Raises:
            NotFound: no such provider.
            Unavailable: the provider does not answer.
        """
        desk, provider = self._desk, self.provider(name)
        reason = f"sign in through {provider.config.source}"
        with desk.ledger.entry("nobody", f"answer of {provider.config.source}", ip=visit.browser.ip) as entry:
            flow = desk.find_flow(entry.tx.connection, visit.flow_token, SignInState.UPSTREAM)
            if flow is None:
                return Over(), ""
            desk.close_flow(entry.tx.connection, visit.flow_token)  # law I2: looked at once
        try:
            identity = self._identify(provider, flow, query)
            if flow.data.purpose == LINK:
                return self._link(flow, identity, visit), flow.data.destination
        except UpstreamRefused as error:
            return self.admission.refuse(visit, reason, error.why), flow.data.destination
        except Unavailable as error:
            self.admission.refuse(visit, reason, f"the provider does not answer ({error.code})")
            raise
        return self.admission.admit(identity, provider.config.people, visit), flow.data.destination

    def _identify(self, provider: UpstreamProvider, flow: Flow, query: Mapping[str, str]) -> UpstreamIdentity:
        name = provider.config.name
        try:
            opened = self._desk.sealer.open(flow.data.upstream, f"upstream:{name}")
        except Invalid as error:
            raise refused("the sign-in was begun with another provider") from error
        return provider.finish(
            msgspec.json.decode(opened.reveal(), type=UpstreamFlow),
            query,
            redirect_uri=self.redirect_uri(name),
            client_secret=self._client_secret(provider.config),
            now=self._desk.clock.now(),
            sign=self._sign,
        )

    def _link(self, flow: Flow, identity: UpstreamIdentity, visit: Visit) -> Answer | Linked:
        """Link the account to whoever began this, if they are still who is signed in here."""
        person = flow.person
        if person is None or visit.presented is None or visit.presented.person != person:
            raise refused("an account was to be linked to somebody who is not signed in here")
        try:
            with self._desk.ledger.entry(person, f"link {identity.source}", ip=visit.browser.ip) as entry:
                identities.link_identity(
                    entry.tx, identity.source, identity.subject, person, issuer=identity.issuer
                )
                entry.note("identity.linked", target=person, source=identity.source, by=person)
        except Conflict as error:
            raise refused("the account that was to be linked is somebody's already") from error
        return Linked(identity.source)

    def redirect_uri(self, name: str) -> str:
        """Return where the provider sends the browser back to."""
        return f"{self._desk.auth_origin}/oidc/{name}/callback"

    def provider(self, name: str) -> UpstreamProvider:
        """Return a provider, as the active bundle has it.

        Raises:
            NotFound: it has none of this name.
        """
        config = next((c for c in self._desk.catalogue().oidc if c.name == name), None)
        if config is None:
            raise NotFound("There is no such identity provider.", remedy="Start again at the sign-in page.")
        known = self._providers.get(name)
        if known is None or known.config != config:
            known = self._providers[name] = UpstreamProvider(config, self._transport)
        return known

    def _client_secret(self, config: OidcConfig) -> Secret[str] | None:
        if config.auth != "secret" or not config.client_secret:
            return None
        try:
            return self._secret(config.client_secret)
        except NotFound as error:
            raise refused("the client secret that the bundle names is not stored") from error
