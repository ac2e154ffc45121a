"""Where people and machines of a bundle come from, and how strongly they must prove themselves."""

from collections.abc import Mapping

import msgspec

from limen.core.entities import Kind


class ClaimRule(msgspec.Struct, frozen=True):
    """One rule from what a provider says to what somebody has here.

    Attributes:
        claim: name of the claim or attribute; `a.b` reaches into an object.
        matches: what it must be: a value, or a pattern with `*`; empty for anything.
        group: the group that it gives; `{}` is the claim's value. Empty when the rule gives an attribute.
        attribute: the attribute that gets the claim's value. Empty when the rule gives a group.
    """

    claim: str
    matches: str = ""
    group: str = ""
    attribute: str = ""


class SourceRules(msgspec.Struct, frozen=True):
    """What the people of a provider may become here, whatever it speaks.

    Attributes:
        create: make the person at first sign-in.
        kind: what they are made as.
        sponsor: who answers for people made so; needed for partners.
        expires_s: how long people made so stay; None is without end.
        domains: e-mail domains whose people are sent there; nobody else is made.
        group_prefix: put before each of its groups.
        groups_from: `claims`, or the source that lists them: `endpoint`, `scim:<client>`, `ldap:<directory>`.
        rules: from claims to groups and attributes.
        link_source, link_claim: another source that lists the same people (`scim:<client>`,
            `ldap:<directory>`), and the claim that is that source's own stable id of them: whoever it names
            is who signs in. Ids of a source, never names or addresses.
    """

    create: bool = True
    kind: Kind = Kind.EMPLOYEE
    sponsor: str | None = None
    expires_s: float | None = None
    domains: tuple[str, ...] = ()
    group_prefix: str = ""
    groups_from: str = "claims"
    rules: tuple[ClaimRule, ...] = ()
    link_source: str = ""
    link_claim: str = ""


class AssuranceRule(msgspec.Struct, frozen=True):
    """What one value of a provider's `amr` or `acr` is worth: AAL 1 to 3."""

    aal: int
    phishing_resistant: bool = False


class OidcConfig(msgspec.Struct, frozen=True):
    """One upstream OpenID provider. `client_secret` names a stored secret.

    Attributes:
        title: what its button says; empty is its name.
        auth: how Limen proves itself there: `secret`, `private_key_jwt`, `none`.
        amr, acr: what each value is worth; a value that is not here is worth AAL 1. None is the common table.
        step_up: `acr_values` to ask for when a session lacks something, by `core.needs.NEEDS`.
        trust_email: its e-mail addresses count though it does not say that it has verified them.
        groups_endpoint: where it lists the groups of whoever signs in, when its tokens only point to them.
        groups_field: what a group of that list is called by.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: str = "groups"
    username_claim: str = "preferred_username"
    ca_pem: str | None = None
    title: str = ""
    auth: str = "secret"
    amr: Mapping[str, AssuranceRule] | None = None
    acr: Mapping[str, AssuranceRule] | None = None
    step_up: Mapping[str, tuple[str, ...]] = {}
    trust_email: bool = False
    groups_endpoint: str | None = None
    groups_field: str = "id"
    people: SourceRules = SourceRules()

    @property
    def source(self) -> str:
        """What its people, links and memberships say they come from."""
        return f"oidc:{self.name}"


class SamlConfig(msgspec.Struct, frozen=True):
    """One upstream SAML identity provider. `metadata` is its own, XML text.

    Attributes:
        subject: the attribute that names a person for ever; empty is the NameID, if it is not transient.
        username, email, display_name, groups: names of attributes; empty `username` is the NameID.
        contexts: what an authentication context class is worth, where one that is not here is worth AAL 1;
            None is the built-in table (`saml_identity.DEFAULT_CONTEXTS`).
    """

    name: str
    metadata: str
    title: str = ""
    subject: str = ""
    username: str = ""
    email: str = "email"
    display_name: str = "displayName"
    groups: str = "groups"
    contexts: Mapping[str, AssuranceRule] | None = None
    people: SourceRules = SourceRules()


class LdapConfig(msgspec.Struct, frozen=True):
    """A directory that is read, and never written. `bind_secret` names a stored secret.

    Attributes:
        url: `ldaps://host:port`; `ldap://` with `start_tls`, or on this machine.
        bind_dn: who reads; empty reads without a name.
        groups_base: where groups are, when not below `base`.
        username, display_name, email, group_name: the attributes that have them.
        stable_id: the attribute that stays when an entry is renamed or moved.
        attributes: Limen's attribute to the directory's.
        member_of: the attribute of people that lists their groups; empty: groups list their members.
        suspend_max_percent: when more of its people than this would be suspended at once, nothing is.
    """

    name: str
    url: str
    base: str
    bind_dn: str = ""
    bind_secret: str | None = None
    start_tls: bool = False
    ca_pem: str | None = None
    groups_base: str = ""
    people_filter: str = "(objectClass=inetOrgPerson)"
    groups_filter: str = "(|(objectClass=groupOfNames)(objectClass=group))"
    username: str = "uid"
    display_name: str = "cn"
    email: str = "mail"
    group_name: str = "cn"
    stable_id: str = "entryUUID"
    every_s: float = 900.0
    people: SourceRules = SourceRules()
    attributes: Mapping[str, str] = {}
    member_of: str = ""
    suspend_max_percent: float = 10.0

    @property
    def source(self) -> str:
        """What its people and memberships say they come from."""
        return f"ldap:{self.name}"


class ScimConfig(msgspec.Struct, frozen=True):
    """What a SCIM client may do here; its token is made by `limen scim token`.

    Attributes:
        people: what its people become; `rules` give attributes, from its documents.
        fills: groups that are here already, into which it may put its people.
    """

    name: str
    people: SourceRules = SourceRules()
    fills: tuple[str, ...] = ()


class PasskeyConfig(msgspec.Struct, frozen=True):
    """Which passkeys count.

    Attributes:
        allow: AAGUIDs that count, at registration and at each use; empty for any.
        attestation: `none`, or `direct`: what cannot prove its model is refused.
        roots_pem: what may sign attestations; None: an attestation proves nothing about hardware.
        hardware: AAGUIDs whose keys never leave their device: with a proven attestation worth AAL 3.
    """

    allow: tuple[str, ...] = ()
    attestation: str = "none"
    roots_pem: str | None = None
    hardware: tuple[str, ...] = ()


class RecoveryConfig(msgspec.Struct, frozen=True):
    """How somebody who lost their factors comes back.

    Attributes:
        lowered_s: how long `recovered` is a signal about them; 0 is never.
        alone: two different things recover without anybody's approval. Who may approve, policies say:
            `admin` on `Route::"limen/recovery"`.
    """

    lowered_s: float = 604_800.0
    alone: bool = True


class SmtpConfig(msgspec.Struct, frozen=True):
    """A mail server. `secret` names a stored secret, its password."""

    host: str
    sender: str
    port: int = 587
    user: str = ""
    secret: str | None = None
    tls: str = "starttls"  # starttls, implicit, none (loopback only)
    ca_pem: str | None = None


class WebhookConfig(msgspec.Struct, frozen=True):
    """Where notices are posted; `secret` names the stored secret that signs them."""

    url: str
    secret: str
    ca_pem: str | None = None


class NoticeConfig(msgspec.Struct, frozen=True):
    """How people are told. With neither, links are printed for the administrator."""

    smtp: SmtpConfig | None = None
    webhook: WebhookConfig | None = None
    expiry_days: int = 14


class IssuerConfig(msgspec.Struct, frozen=True):
    """An issuer of tokens that machines bring: CI, Kubernetes (RFC 8693).

    Attributes:
        jwks: its keys, a JWK Set as JSON text, where it publishes none (`jwks_uri`, or discovery).
        audience: what `aud` must be.
        ca_pem: what may sign the certificate of its addresses; None is the system's roots.
        workloads: workload to the claims that its tokens must all have. In a value, `*` stands for anything
            without `/` and `:`, and `**` for anything.
    """

    name: str
    issuer: str
    audience: str
    jwks: str | None = None
    jwks_uri: str | None = None
    ca_pem: str | None = None
    workloads: Mapping[str, Mapping[str, str]] = {}


class SpiffeConfig(msgspec.Struct, frozen=True):
    """A SPIFFE trust domain whose X.509-SVIDs are taken at the gateway.

    Attributes:
        bundle_pem: its CA certificates.
        workloads: workload to the SPIFFE ID that it has.
    """

    trust_domain: str
    bundle_pem: str
    workloads: Mapping[str, str] = {}


class MachineConfig(msgspec.Struct, frozen=True):
    """How machines may prove themselves, and how long.

    Attributes:
        port: on which gateways ask for client certificates; nobody is asked for one elsewhere.
        secrets: workloads that may have a long-lived shared secret; no others do.
        access_s: life of an access token.
        review_s: how often an owner says that a workload is still needed.
        grace_s: how long a workload goes on whose owner has left.
    """

    issuers: tuple[IssuerConfig, ...] = ()
    spiffe: tuple[SpiffeConfig, ...] = ()
    port: int | None = None
    secrets: tuple[str, ...] = ()
    access_s: float = 3_600.0
    review_s: float = 15_552_000.0
    grace_s: float = 604_800.0


class SourcesConfig(msgspec.Struct, frozen=True):
    """All of it, but OpenID Connect, which `Catalogue.oidc` has."""

    saml: tuple[SamlConfig, ...] = ()
    ldap: tuple[LdapConfig, ...] = ()
    scim: tuple[ScimConfig, ...] = ()
    passkeys: PasskeyConfig = PasskeyConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    notices: NoticeConfig = NoticeConfig()
    machines: MachineConfig = MachineConfig()
