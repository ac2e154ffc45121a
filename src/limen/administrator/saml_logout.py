"""An app signs somebody out by SAML: the whole session ends, and with it all that it has opened."""

from limen.administrator.desk import Desk
from limen.administrator.saml_keys import SamlKeys
from limen.administrator.saml_names import SamlNames
from limen.administrator.saml_post import Dispatch, dispatch
from limen.administrator.saml_provider import SamlProvider
from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import TooMany
from limen.core.saml_metadata import binding_of
from limen.information.identity import saml_messages as messages
from limen.information.identity import throttle
from limen.information.identity.saml_bindings import Received
from limen.information.identity.saml_logout import LogoutAsked, read_logout
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_request import read_issuer
from limen.information.identity.saml_response import SKEW_S
from limen.store import saml as rows
from limen.store.spent import spend_once


class SamlLogout:
    """Takes the logout requests of apps. Threads may share it."""

    def __init__(self, desk: Desk, provider: SamlProvider, names: SamlNames, keys: SamlKeys) -> None:
        self._desk = desk
        self._provider = provider
        self._names = names
        self._keys = keys

    def logout(self, received: Received, ip: str) -> Dispatch | TooMany | None:
        """End what an app asks to end; return where the browser goes on to, if anywhere.

        Other apps that were told of the session keep what they have until they ask again: the answer says so
        (`PartialLogout`, core 3.7.3.2).

        Raises:
            SamlRefused: the request does not hold.
        """
        desk = self._desk
        with desk.ledger.entry("nobody", "a logout by SAML", ip=ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(ip))
        if wait_s:
            return TooMany(wait_s)
        now = desk.clock.now()
        try:
            client, sp, _ = self._provider.find_client(read_issuer(received, "LogoutRequest"))
            asked = read_logout(
                received,
                issuer=sp.entity_id,
                destination=self._names.logout_url,
                certificates=sp.certificates,
                now=now,
            )
            others = self._end(client.name, asked)
        except SamlRefused as refusal:
            self._provider.note_refused(refusal, ip)
            raise
        binding = binding_of(sp.slo_answers)
        if binding is None:
            return None
        answer = messages.logout_response(
            messages.new_ident(),
            now,
            issuer=self._names.issuer,
            destination=sp.slo_answers[binding],
            request=asked.id,
            status=messages.PARTIAL_LOGOUT if others else messages.SUCCESS,
        )
        text, url = messages.render(answer), sp.slo_answers[binding]
        return dispatch(
            binding, url, "SAMLResponse", text, relay_state=received.relay_state, key=self._keys.signing()
        )

    def _end(self, client: str, asked: LogoutAsked) -> bool:
        """End the sessions that are meant; return whether other apps were told of them."""
        why = f"signed out at {client}"
        others = False
        with self._desk.ledger.entry("nobody", why) as entry:
            connection = entry.tx.connection
            if not spend_once(connection, f"saml-logout:{client}", asked.id, asked.expires_at + SKEW_S):
                raise SamlRefused("it came before")
            for index in asked.indexes or ("",):
                for found in rows.find_issued(connection, client, name_id=asked.name_id, index=index):
                    told = rows.issued_of(connection, found.session)
                    others = others or any(one.client != client for one in told)
                    self._desk.sessions.end_in(entry, found.session, SessionEvent.SIGN_OUT, why)
        return others
