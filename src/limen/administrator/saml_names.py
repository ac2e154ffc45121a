"""Who Limen is in SAML: its names, addresses and metadata, towards each provider and towards apps."""

from limen.administrator.desk import Desk
from limen.administrator.saml_keys import SamlKeys
from limen.core.catalogue import Catalogue
from limen.core.errors import NotFound
from limen.core.identity_config import SamlConfig
from limen.information.identity import saml_messages as messages
from limen.information.identity.saml_assertions import FORMATS
from limen.information.identity.saml_signature import find_program


class SamlNames:
    """Shared by both roles. Threads may share it."""

    def __init__(self, desk: Desk, keys: SamlKeys) -> None:
        self._desk = desk
        self._keys = keys

    # --- towards a provider --------------------------------------------------------------------------

    def provider(self, name: str) -> SamlConfig:
        """Return a provider of the active bundle.

        Raises:
            NotFound: there is none of this name.
        """
        found = next((c for c in self._desk.catalogue().sources.saml if c.name == name), None)
        if found is None:
            raise NotFound("There is no such identity provider.", remedy="Start again at the sign-in page.")
        return found

    def entity_id(self, name: str) -> str:
        """Return Limen's name at a provider: one for each, so that what is for one is not for another."""
        return f"{self._desk.auth_origin}/saml/{name}/metadata"

    def consumer_url(self, name: str) -> str:
        """Return where a provider sends its answers."""
        return f"{self._desk.auth_origin}/saml/{name}/acs"

    def provider_logout_url(self, name: str) -> str:
        """Return where a provider signs people out."""
        return f"{self._desk.auth_origin}/saml/{name}/logout"

    def provider_metadata(self, name: str) -> str:
        """Return what a provider is to be told of Limen, XML.

        Raises:
            NotFound: no such provider.
        """
        self.provider(name)
        return messages.sp_metadata(
            self.entity_id(name),
            consumer=self.consumer_url(name),
            logout=self.provider_logout_url(name),
            certificates=self._keys.certificates(),
        )

    # --- towards apps ----------------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        """Limen's name as an identity provider."""
        return f"{self._desk.auth_origin}/saml-idp/metadata"

    @property
    def sso_url(self) -> str:
        """Where apps send requests to sign in."""
        return f"{self._desk.auth_origin}/saml-idp/sso"

    @property
    def logout_url(self) -> str:
        """Where apps sign people out."""
        return f"{self._desk.auth_origin}/saml-idp/logout"

    def metadata(self) -> str:
        """Return what apps are to be told of Limen, XML."""
        return messages.idp_metadata(
            self.issuer,
            sso=self.sso_url,
            logout=self.logout_url,
            certificates=self._keys.certificates(),
            formats=FORMATS,
        )


def demand_program(catalogue: Catalogue) -> None:
    """Check that this machine can do what a bundle with SAML needs.

    Raises:
        Unavailable: the bundle speaks SAML, and xmlsec1 is not installed; it names the package.
    """
    if catalogue.sources.saml or any(client.saml for client in catalogue.clients.values()):
        find_program()
