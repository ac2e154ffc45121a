"""From methods to the authenticator assurance level.

Source: NIST SP 800-63B-4, sections 2 and 3. AAL3 needs a hardware key with attestation, which is not
asked for yet, so nothing here gives 3.
"""

from collections.abc import Iterable, Mapping

import msgspec

PASSWORD = "password"  # noqa: S105 - a method's name
TOTP = "totp"
RECOVERY = "recovery"
PASSKEY = "passkey"
OIDC_PREFIX = "oidc:"


class Assurance(msgspec.Struct, frozen=True, order=True):
    """What a sign-in is worth. The zero value is worth nothing."""

    aal: int = 0
    phishing_resistant: bool = False


FIRST_FACTORS = frozenset({PASSWORD, OIDC_PREFIX})
SECOND_FACTORS = frozenset({TOTP, RECOVERY})  # SP 800-63B 3.1.2 (look-up secrets), 3.1.4 (OTP)

ASSURANCE: tuple[tuple[frozenset[str], Assurance], ...] = (
    # User-verifying passkeys are multi-factor and bound to the origin (SP 800-63B 3.1.7, 3.2.5).
    (frozenset({PASSKEY}), Assurance(2, phishing_resistant=True)),
    (frozenset({PASSWORD, TOTP}), Assurance(2)),
    (frozenset({PASSWORD, RECOVERY}), Assurance(2)),
    (frozenset({OIDC_PREFIX, TOTP}), Assurance(2)),
    (frozenset({OIDC_PREFIX, RECOVERY}), Assurance(2)),
    (frozenset({PASSWORD}), Assurance(1)),
    (frozenset({OIDC_PREFIX}), Assurance(1)),
)
"""First row whose methods are all there decides. No row: nothing was proven."""

UPSTREAM_AMR: Mapping[str, Assurance] = {
    "mfa": Assurance(2),  # RFC 8176 section 2
}
UPSTREAM_ACR: Mapping[str, Assurance] = {
    "phr": Assurance(2, phishing_resistant=True),  # OpenID EAP ACR Values 1.0, section 2
    "phrh": Assurance(2, phishing_resistant=True),
    "http://schemas.openid.net/pape/policies/2007/06/multi-factor": Assurance(2),
    "https://refeds.org/profile/mfa": Assurance(2),
}


def assess_methods(methods: Iterable[str], upstream: Assurance | None = None) -> Assurance:
    """Return what these methods prove together, at least what the upstream provider vouches for."""
    kinds = {OIDC_PREFIX if method.startswith(OIDC_PREFIX) else method for method in methods}
    own = next((worth for needed, worth in ASSURANCE if needed <= kinds), Assurance())
    if upstream is None:
        return own
    return Assurance(
        max(own.aal, upstream.aal), phishing_resistant=own.phishing_resistant or upstream.phishing_resistant
    )


def assess_upstream(amr: Iterable[str], acr: str) -> Assurance:
    """Return what an upstream provider's own claims are worth: AAL1 unless a table row says more."""
    found = [UPSTREAM_AMR[value] for value in amr if value in UPSTREAM_AMR]
    found += [UPSTREAM_ACR[acr]] if acr in UPSTREAM_ACR else []
    return max(found, default=Assurance(1))
