"""A SAML provider signs somebody out: the sessions here that came from that session there end."""

from limen.administrator.desk import Desk
from limen.administrator.saml_keys import SamlKeys
from limen.administrator.saml_names import SamlNames
from limen.administrator.saml_post import Dispatch, dispatch
from limen.administrator.session_life import SessionEvent
from limen.administrator.session_values import TooMany
from limen.core.identity_config import SamlConfig
from limen.core.saml_metadata import binding_of, parse_idp
from limen.information.identity import saml_messages as messages
from limen.information.identity import throttle
from limen.information.identity.assurance import SAML_PREFIX
from limen.information.identity.saml_bindings import Received
from limen.information.identity.saml_logout import LogoutAsked, read_logout
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import SKEW_S
from limen.store import identities
from limen.store.spent import spend_once


class SamlUpstreamLogout:
    """Takes the logout requests of providers. Threads may share it."""

    def __init__(self, desk: Desk, names: SamlNames, keys: SamlKeys) -> None:
        self._desk = desk
        self._names = names
        self._keys = keys

    def logout(self, name: str, received: Received, ip: str) -> Dispatch | TooMany | None:
        """End what a provider asks to end; return where the browser goes on to, if anywhere.

        Raises:
            SamlRefused: the request does not hold.
            NotFound: no such provider.
        """
        desk, config = self._desk, self._names.provider(name)
        reason = f"logout of {SAML_PREFIX}{name}"
        with desk.ledger.entry("nobody", reason, ip=ip) as entry:
            wait_s = desk.charge(entry.tx.connection, throttle.address_charges(ip))
        if wait_s:
            return TooMany(wait_s)
        provider = parse_idp(config.metadata)
        now = desk.clock.now()
        try:
            asked = read_logout(
                received,
                issuer=provider.entity_id,
                destination=self._names.provider_logout_url(name),
                certificates=provider.certificates,
                now=now,
            )
            self._end(config, asked)
        except SamlRefused as refusal:
            with desk.ledger.entry("nobody", reason, ip=ip) as entry:
                entry.note("saml.refused", target=name, why=refusal.why)
            raise
        binding = binding_of(provider.slo_answers)
        if binding is None:
            return None
        url, key = provider.slo_answers[binding], self._keys.signing()
        answer = messages.logout_response(
            messages.new_ident(),
            now,
            issuer=self._names.entity_id(name),
            destination=url,
            request=asked.id,
        )
        text = messages.render(answer)
        return dispatch(binding, url, "SAMLResponse", text, relay_state=received.relay_state, key=key)

    def _end(self, config: SamlConfig, asked: LogoutAsked) -> None:
        source = f"{SAML_PREFIX}{config.name}"
        subject = "" if config.subject else asked.name_id
        why = f"signed out at {source}"
        with self._desk.ledger.entry("nobody", why) as entry:
            connection, until = entry.tx.connection, asked.expires_at + SKEW_S
            if not spend_once(connection, f"saml-logout:{config.name}", asked.id, until):
                raise SamlRefused("it came before")
            if not subject and not asked.indexes:
                raise SamlRefused("it names no session, and its NameID is not who people are known by here")
            for index in asked.indexes or ("",):
                for found in identities.find_upstream(connection, source, subject=subject, sid=index):
                    self._desk.sessions.end_in(entry, found.session, SessionEvent.REVOKE, why)
