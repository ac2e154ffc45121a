"""Limen as a SAML identity provider: an app asks, policy decides, the app is told.

A request is read once, checked, and laid aside under a random token, with which the browser goes on: through
sign-in and step-up if need be, until it is answered or too old.

Laws:
    SI1 decided. No assertion leaves but after an allow of `sign_in` on the client, recorded.
    SI2 asked. An assertion answers one request, which an app of the bundle made; it is answered once.
    SI3 an app learns what its client says, and no more: a request can make the name that it is given mean
        less to others (`transient`, `persistent`), never more.
"""

import hmac
import secrets

import msgspec

from limen.administrator.desk import Desk, FlowData
from limen.administrator.oauth.claims import Subject
from limen.administrator.oauth.issuing import Issuing
from limen.administrator.saml_keys import SamlKeys
from limen.administrator.saml_names import SamlNames
from limen.administrator.saml_post import post
from limen.administrator.saml_values import Denied, Outcome, SignInFirst, StepUpFirst, Waiting
from limen.administrator.session_values import Over, TooMany
from limen.administrator.step_up import Need, is_met
from limen.core.client_config import ClientConfig, SamlClient
from limen.core.saml_metadata import SpMetadata, parse_sp
from limen.core.secret import Secret
from limen.information.identity import saml_assertions as assertions
from limen.information.identity import saml_messages as messages
from limen.information.identity import throttle
from limen.information.identity.saml_bindings import Received
from limen.information.identity.saml_contexts import find_class
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_request import SignInAsked, read_issuer, read_sign_in
from limen.information.identity.saml_response import TRANSIENT
from limen.information.identity.saml_sign import sign_message
from limen.store import saml as rows
from limen.store.saml import SamlIssued
from limen.store.sessions import Session

WAITING = "saml-request"
"""State of a flow that an app's request is laid aside in."""

INVALID_NAME_ID = "urn:oasis:names:tc:SAML:2.0:status:InvalidNameIDPolicy"
FORMATS = {
    "username": assertions.UNSPECIFIED,
    "email": assertions.EMAIL,
    "persistent": assertions.PERSISTENT,
}


class _NoAnswer(Exception):
    """The app is told that there is no assertion for it. `status`: of SAML 2.0 core 3.2.2.2."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class SamlProvider:
    """Answers the apps of the bundle. Threads may share it."""

    def __init__(self, desk: Desk, issuing: Issuing, names: SamlNames, keys: SamlKeys) -> None:
        self._desk = desk
        self._issuing = issuing
        self._names = names
        self._keys = keys

    # --- an app asks -------------------------------------------------------------------------------

    def receive(self, received: Received, ip: str) -> Secret[str] | TooMany:
        """Lay an app's request aside; return the token that the browser goes on with.

        Raises:
            SamlRefused: it does not hold, or no app of the bundle is called so.
        """
        desk = self._desk
        with desk.ledger.entry("nobody", "a request by SAML", ip=ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(ip))
        if wait_s:
            return TooMany(wait_s)
        now = desk.clock.now()
        try:
            client, sp, _ = self.find_client(read_issuer(received))
            asked = read_sign_in(received, sp, self._names.sso_url, now)
        except SamlRefused as refusal:
            self.note_refused(refusal, ip)
            raise
        waiting = Waiting(client.name, asked, received.relay_state, now)
        token = secrets.token_urlsafe(32)
        text = Secret(msgspec.json.encode(waiting).decode())
        data = FlowData(upstream=desk.sealer.seal(text, f"{WAITING}:{token}"))
        with desk.ledger.entry("nobody", "a request by SAML", ip=ip) as entry:
            desk.open_flow(entry.tx.connection, WAITING, person=None, data=data, token=token)
        return Secret(token)

    # --- the browser goes on -----------------------------------------------------------------------

    def proceed(self, token: str, session: Session | None, ip: str) -> Outcome:
        """Return what comes next for a request: the answer, or what is lacking for it.

        Raises:
            Unavailable: xmlsec1 is not installed, or the decision could not be recorded.
        """
        waiting = self._find(token)
        client = None if waiting is None else self._desk.catalogue().clients.get(waiting.client)
        if waiting is None or client is None or client.saml is None:
            return Over()
        consumers = [one.url for one in parse_sp(client.saml.metadata).consumers]
        if waiting.asked.consumer not in consumers:
            return Over()  # the bundle changed meanwhile (law V1)
        try:
            told = self._answer(waiting, client, session, ip)
        except _NoAnswer as error:
            return self._fail(token, waiting, error.status)
        if not isinstance(told, assertions.Told) or session is None:
            assert not isinstance(told, assertions.Told)
            passive = messages.REQUEST_DENIED if isinstance(told, Denied) else messages.NO_PASSIVE
            return self._fail(token, waiting, passive) if waiting.asked.passive else told
        return self._tell(token, waiting, session, told)

    def _answer(
        self, waiting: Waiting, client: ClientConfig, session: Session | None, ip: str
    ) -> assertions.Told | SignInFirst | StepUpFirst | Denied:
        """Return what the app is told (law SI1), or what is lacking for it."""
        if session is None:
            return SignInFirst()
        asked = waiting.asked
        context, several = find_class(asked.contexts, asked.comparison, session.aal)
        if not context:
            raise _NoAnswer(messages.NO_CONTEXT)
        need = self._lacking(waiting, session, several=several)
        if need is not None:
            return StepUpFirst(need)
        decided = self._issuing.decide(session, (client,), ip=ip, path="/saml-idp/sso")
        if not decided.decision.allowed:
            return Denied(client, decided)
        subject = self._issuing.subject(session.person)
        name, name_format = self._name(client, asked, subject)
        assert client.saml is not None
        now, until = self._desk.clock.now(), decided.decision.deadline_at
        return assertions.Told(
            audience=parse_sp(client.saml.metadata).entity_id,
            consumer=asked.consumer,
            request=asked.id,
            name_id=name,
            name_format=name_format,
            context=context,
            auth_at=session.auth_at,
            session_index=messages.new_ident(),
            ends_at=min(now + client.saml.session_s, session.expires_at, *([until] if until else [])),
            attributes=_attributes(client.saml, subject),
        )

    def _lacking(self, waiting: Waiting, session: Session, *, several: bool) -> Need | None:
        if several:
            return Need("second-factor")
        fresh = Need("fresh-sign-in", since=waiting.at)
        met = is_met(fresh, session, self._desk.clock.now())
        return fresh if waiting.asked.force and not met else None

    def _name(self, client: ClientConfig, asked: SignInAsked, subject: Subject) -> tuple[str, str]:
        """Return the NameID and its format (law SI3).

        Raises:
            _NoAnswer: the app asks for a name that it may not have, or there is none.
        """
        assert client.saml is not None
        wanted, kind = asked.name_format, client.saml.name_id
        if wanted == TRANSIENT:
            return messages.new_ident(), TRANSIENT
        if wanted == assertions.PERSISTENT:
            kind = "persistent"
        if wanted not in ("", assertions.UNSPECIFIED, FORMATS[kind]):
            raise _NoAnswer(INVALID_NAME_ID)
        bound = f"saml-name\0{client.name}\0{subject.username}".encode()
        names = {
            "username": subject.username,
            "email": subject.email,
            "persistent": hmac.digest(self._desk.key, bound, "sha256").hex(),
        }
        if not names[kind]:
            raise _NoAnswer(INVALID_NAME_ID)
        return names[kind], FORMATS[kind]

    def _tell(self, token: str, waiting: Waiting, session: Session, told: assertions.Told) -> Outcome:
        """Answer with an assertion. The request is spent with it (law SI2)."""
        desk = self._desk
        now = desk.clock.now()
        signed = self._sign(assertions.success(told, self._names.issuer, now))
        issued = SamlIssued(told.session_index, session.id, waiting.client, told.name_id, now, told.ends_at)
        with desk.ledger.entry(session.person, f"sign in to {waiting.client}", ip=session.ip) as entry:
            if not desk.close_flow(entry.tx.connection, token):
                return Over()
            rows.purge_issued(entry.tx.connection, now)
            rows.add_issued(entry.tx, issued)
            entry.note("client.signed_in", target=waiting.client, person=session.person, session=session.id)
        return post(waiting.asked.consumer, "SAMLResponse", signed, waiting.relay_state)

    def _fail(self, token: str, waiting: Waiting, why: str) -> Outcome:
        """Answer without an assertion."""
        desk, asked = self._desk, waiting.asked
        text = assertions.failure(asked.consumer, asked.id, self._names.issuer, desk.clock.now(), why)
        signed = self._sign(text)
        with desk.ledger.entry("nobody", f"no sign-in to {waiting.client}") as entry:
            if not desk.close_flow(entry.tx.connection, token):
                return Over()
            entry.note("saml.refused", target=waiting.client, why=why.rpartition(":")[2])
        return post(asked.consumer, "SAMLResponse", signed, waiting.relay_state)

    def find_client(self, entity_id: str) -> tuple[ClientConfig, SpMetadata, SamlClient]:
        """Return the app of the bundle that is called so.

        Raises:
            SamlRefused: none is.
        """
        for client in self._desk.catalogue().clients.values():
            if client.saml is not None and parse_sp(client.saml.metadata).entity_id == entity_id:
                return client, parse_sp(client.saml.metadata), client.saml
        raise SamlRefused("it is from an app that is not in the bundle")

    # --- inside ------------------------------------------------------------------------------------

    def _find(self, token: str) -> Waiting | None:
        with self._desk.ledger.store.read() as connection:
            flow = self._desk.find_flow(connection, token, WAITING)
        if flow is None:
            return None
        opened = self._desk.sealer.open(flow.data.upstream, f"{WAITING}:{token}")
        return msgspec.json.decode(opened.reveal(), type=Waiting)

    def _sign(self, text: str) -> str:
        key = self._keys.signing()
        return sign_message(text, key.certificate, key.private_pem.reveal())

    def note_refused(self, refusal: SamlRefused, ip: str) -> None:
        """Keep for the operator why a message was refused."""
        with self._desk.ledger.entry("nobody", "a message by SAML", ip=ip) as entry:
            entry.note("saml.refused", why=refusal.why)


def _attributes(saml: SamlClient, subject: Subject) -> dict[str, tuple[str, ...]]:
    """Return what the client's rules tell of somebody; what is empty is left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in saml.attributes.items():
        value = subject.field(field)
        listed = value if isinstance(value, list) else [value]
        texts = tuple(_text(one) for one in listed if one not in (None, ""))
        if texts:
            found[name] = texts
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
