"""From a verified assertion to who somebody is, as the bundle says to read it."""

from collections.abc import Iterable, Mapping

from limen.core.identity_config import AssuranceRule, SamlConfig
from limen.core.needs import HARDWARE_KEY, PASSKEY, SECOND_FACTOR
from limen.information.identity.assurance import Assurance
from limen.information.identity.saml_refusal import SamlRefused
from limen.information.identity.saml_response import TRANSIENT, VerifiedAssertion
from limen.information.identity.upstream_identity import UpstreamIdentity

SAML_PREFIX = "saml:"

DEFAULT_CONTEXTS: Mapping[str, AssuranceRule] = {
    "https://refeds.org/profile/mfa": AssuranceRule(2),  # REFEDS MFA Profile
    "http://schemas.microsoft.com/claims/multipleauthn": AssuranceRule(2),  # AD FS, Entra ID
}
"""What context classes are worth where the bundle has no table. Others, and none, are worth AAL 1."""


def contexts_of(config: SamlConfig) -> Mapping[str, AssuranceRule]:
    """Return what each authentication context class of a provider is worth."""
    return DEFAULT_CONTEXTS if config.contexts is None else config.contexts


def contexts_for(config: SamlConfig, need: str) -> tuple[str, ...]:
    """Return the classes that a step-up asks for, sorted; none where only its age matters."""
    worth = contexts_of(config)
    if need == HARDWARE_KEY:
        return tuple(sorted(name for name, rule in worth.items() if rule.aal >= 3))
    if need == PASSKEY:
        return tuple(sorted(name for name, rule in worth.items() if rule.phishing_resistant))
    if need == SECOND_FACTOR:
        return tuple(sorted(name for name, rule in worth.items() if rule.aal >= 2))
    return ()


def identify(assertion: VerifiedAssertion, config: SamlConfig, issuer: str) -> UpstreamIdentity:
    """Return who a provider says this is.

    Raises:
        SamlRefused: it does not say it in a way that lasts.
    """
    said = assertion.attributes
    subject = assertion.name_id
    if config.subject:
        subject = _one(said, config.subject)
        if not subject:
            raise SamlRefused("it lacks the attribute that `subject` names, or has two of it")
    elif assertion.name_id_format == TRANSIENT:
        raise SamlRefused("its NameID is transient: name a lasting attribute as the provider's `subject`")
    username = _one(said, config.username) if config.username else assertion.name_id
    return UpstreamIdentity(
        source=f"{SAML_PREFIX}{config.name}",
        subject=subject,
        username=username,
        name=_one(said, config.display_name),
        email=_one(said, config.email),
        groups=_sorted(said.get(config.groups, ())),
        assurance=_worth(assertion.context, contexts_of(config)),
        auth_at=assertion.auth_at,
        claims={name: list(values) for name, values in said.items()},
        sid=assertion.session_index,
        issuer=issuer,
    )


def _worth(context: str, table: Mapping[str, AssuranceRule]) -> Assurance:
    rule = table.get(context)
    if rule is None:
        return Assurance(1)
    return Assurance(rule.aal, phishing_resistant=rule.phishing_resistant)


def _one(said: Mapping[str, tuple[str, ...]], name: str) -> str:
    """Return the value of an attribute that has one; of several none is the right one."""
    values = set(said.get(name, ()))
    return values.pop() if len(values) == 1 else ""


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))
