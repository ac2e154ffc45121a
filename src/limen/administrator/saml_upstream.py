"""Signing in through a SAML identity provider: there, and back.

The provider's answer comes as a form from another site, so the browser brings no cookie of ours with it. It
is laid aside unread, under the `RelayState` that Limen gave along, and the browser comes for it with a
request of its own. Only then is it looked at: in the browser that asked, once.

Laws:
    W1 nothing unasked. An answer counts for the request that this browser's flow made (no sign-in that a
       provider starts), and a `RelayState` that was not given out costs one row looked up.
    W2 an assertion counts once, in whichever browser.
    W3 strangers read one sentence; why is in the journal (`sign_in.failed`, `saml.refused`).
"""

import base64
import secrets

import msgspec

from limen.administrator.admission import Admission
from limen.administrator.desk import Desk, FlowData
from limen.administrator.ledger import Entry
from limen.administrator.saml_keys import SamlKeys
from limen.administrator.saml_names import SamlNames
from limen.administrator.saml_post import Dispatch, dispatch
from limen.administrator.session_values import Answer, Over, TooMany, Visit
from limen.administrator.sign_in import Attempt, SignIn
from limen.administrator.sign_in_life import SignInEvent, SignInState
from limen.administrator.step_up import Need
from limen.core.errors import Invalid
from limen.core.identity_config import SamlConfig
from limen.core.saml_metadata import IdpMetadata, binding_of, parse_idp
from limen.core.secret import Secret
from limen.information.identity import saml_messages as messages
from limen.information.identity import throttle
from limen.information.identity.assurance import SAML_PREFIX
from limen.information.identity.saml_bindings import Received
from limen.information.identity.saml_identity import contexts_for, identify
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import Asked, VerifiedAssertion, verify_response
from limen.store.spent import spend_once

RELAY = "saml-relay"
"""State of a flow that a provider's answer is laid aside in."""


class _SamlFlow(msgspec.Struct, frozen=True):
    """What the browser's flow remembers until the provider answers."""

    request: str
    relay: str
    max_age_s: float | None = None


class SamlUpstream:
    """The SAML providers of the active bundle. Threads may share it."""

    def __init__(
        self, desk: Desk, sign_in: SignIn, admission: Admission, names: SamlNames, keys: SamlKeys
    ) -> None:
        self._desk = desk
        self._sign_in = sign_in
        self._admission = admission
        self._names = names
        self._keys = keys

    # --- there -------------------------------------------------------------------------------------

    def start(
        self, name: str, visit: Visit, *, destination: str, need: Need | None = None
    ) -> tuple[Dispatch, Secret[str]] | TooMany:
        """Return where to send the browser, and the flow token that it must bring back.

        Args:
            name: of the provider.
            visit: the browser.
            destination: rendered, for `finish` to give back.
            need: what the sign-in must achieve, of somebody who is signed in already.

        Raises:
            NotFound: no such provider.
            Unavailable: xmlsec1 is not installed.
        """
        desk, config = self._desk, self._names.provider(name)
        provider = parse_idp(config.metadata)
        reason = f"sign in through {SAML_PREFIX}{name}"
        with desk.ledger.entry("nobody", reason, ip=visit.browser.ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(visit.browser.ip))
        if wait_s:
            return TooMany(wait_s)
        age_s = need.age_s if need is not None else None
        flow = _SamlFlow(messages.new_ident(), secrets.token_urlsafe(32), age_s)
        sent = self._send(config, provider, flow, need)
        attempt = Attempt(visit)
        attempt.data = FlowData(upstream=self._seal(name, flow), destination=destination)
        with desk.ledger.entry("nobody", reason, ip=visit.browser.ip) as entry:
            self._sign_in.advance(entry, attempt, SignInState.BEGIN, SignInEvent.SENT_UPSTREAM)
            desk.open_flow(
                entry.tx.connection, RELAY, person=None, data=FlowData(name=name), token=flow.relay
            )
        assert attempt.token is not None
        return sent, attempt.token

    def _send(
        self, config: SamlConfig, provider: IdpMetadata, flow: _SamlFlow, need: Need | None
    ) -> Dispatch:
        binding = binding_of(provider.sso)
        assert binding is not None, "the bundle was parsed"
        request = messages.authn_request(
            flow.request,
            self._desk.clock.now(),
            issuer=self._names.entity_id(config.name),
            destination=provider.sso[binding],
            consumer=self._names.consumer_url(config.name),
            force=flow.max_age_s is not None,
            contexts=() if need is None else contexts_for(config, need.id),
        )
        return dispatch(
            binding,
            provider.sso[binding],
            "SAMLRequest",
            request,
            relay_state=flow.relay,
            key=self._keys.signing(),
        )

    # --- back --------------------------------------------------------------------------------------

    def receive(self, name: str, received: Received, ip: str) -> bool:
        """Lay a provider's answer aside; return whether a browser has asked for it (law W1)."""
        desk = self._desk
        with desk.ledger.entry("nobody", f"answer of {SAML_PREFIX}{name}", ip=ip) as entry:
            connection = entry.tx.connection
            waiting = desk.find_flow(connection, received.relay_state, RELAY)
            fits = waiting is not None and waiting.data.name == name and not waiting.data.upstream
            if not fits or waiting is None or received.kind != "SAMLResponse":
                self._note_refused(entry, name, "an answer came that no browser has asked for", ip)
                return False
            text = Secret(base64.b64encode(received.xml).decode())
            kept = desk.sealer.seal(text, f"saml-answer:{received.relay_state}")
            data = msgspec.structs.replace(waiting.data, upstream=kept)
            desk.save_flow(connection, msgspec.structs.replace(waiting, data=data))
        return True

    def finish(self, name: str, relay: str, visit: Visit) -> tuple[Answer, str]:
        """Look at the answer that was laid aside; return what it comes to, and the destination.

        Raises:
            Unavailable: xmlsec1 is not installed.
        """
        desk, config = self._desk, self._names.provider(name)
        with desk.ledger.entry("nobody", f"answer of {SAML_PREFIX}{name}", ip=visit.browser.ip) as entry:
            connection = entry.tx.connection
            flow = desk.find_flow(connection, visit.flow_token, SignInState.UPSTREAM)
            laid = desk.find_flow(connection, relay, RELAY)
            remembered = self._open(name, flow.data.upstream) if flow is not None else None
            if flow is None or remembered is None or laid is None or remembered.relay != relay:
                return Over(), ""
            desk.close_flow(connection, relay)
            desk.close_flow(connection, visit.flow_token)  # law I2: looked at once
        reason = f"sign in through {SAML_PREFIX}{name}"
        provider = parse_idp(config.metadata)
        try:
            if not laid.data.upstream:
                raise SamlRefused("the browser came back without an answer")
            raw = base64.b64decode(desk.sealer.open(laid.data.upstream, f"saml-answer:{relay}").reveal())
            asked = Asked(
                provider,
                self._names.entity_id(name),
                self._names.consumer_url(name),
                remembered.request,
                remembered.max_age_s,
            )
            assertion = verify_response(raw, asked, desk.clock.now())
            identity = identify(assertion, config, provider.entity_id)
            self._spend(name, assertion)
        except SamlRefused as refusal:
            return self._admission.refuse(visit, reason, refusal.why), flow.data.destination
        return self._admission.admit(identity, config.people, visit), flow.data.destination

    def _spend(self, name: str, assertion: VerifiedAssertion) -> None:
        """Use an assertion up (law W2).

        Raises:
            SamlRefused: it was used before.
        """
        with self._desk.ledger.store.transaction("limen", "spend an assertion") as tx:
            if not spend_once(tx.connection, f"saml:{name}", assertion.id, assertion.expires_at):
                raise SamlRefused("its assertion was used before")

    # --- inside ------------------------------------------------------------------------------------

    def _note_refused(self, entry: Entry, name: str, why: str, ip: str) -> None:
        """Note what a stranger sent, as often as a stranger may try."""
        if self._desk.charge(entry.tx.connection, throttle.address_charges(ip)):
            self._desk.note_throttled(entry)
        else:
            entry.note("saml.refused", target=name, why=why)

    def _seal(self, name: str, flow: _SamlFlow) -> str:
        return self._desk.sealer.seal(Secret(msgspec.json.encode(flow).decode()), f"saml-flow:{name}")

    def _open(self, name: str, sealed: str) -> _SamlFlow | None:
        try:
            opened = self._desk.sealer.open(sealed, f"saml-flow:{name}")
        except Invalid:
            return None  # the flow of another provider
        return msgspec.json.decode(opened.reveal(), type=_SamlFlow)
