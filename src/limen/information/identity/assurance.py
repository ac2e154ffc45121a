"""From methods to the authenticator assurance level.

Source: NIST SP 800-63B-4, sections 2 and 3. AAL3 needs a key that is proven to stay in hardware (2.3.1): a
passkey alone never gives 3, whatever it says of itself.
"""

from collections.abc import Iterable

import msgspec

PASSWORD = "password"  # noqa: S105 - a method's name
TOTP = "totp"
RECOVERY = "recovery"
PASSKEY = "passkey"
HARDWARE = "hardware-key"
"""Beside `passkey`: its model was proven at registration, and is one whose keys cannot leave it."""
OIDC_PREFIX = "oidc:"
SAML_PREFIX = "saml:"
PROVIDERS = (OIDC_PREFIX, SAML_PREFIX)
UPSTREAM = "upstream"
"""What a provider's method, `oidc:corp`, is in the table: which one it was does not matter there."""


class Assurance(msgspec.Struct, frozen=True, order=True):
    """What a sign-in is worth. The zero value is worth nothing."""

    aal: int = 0
    phishing_resistant: bool = False


FIRST_FACTORS = frozenset({PASSWORD, UPSTREAM})
SECOND_FACTORS = frozenset({TOTP, RECOVERY})  # SP 800-63B 3.1.2 (look-up secrets), 3.1.4 (OTP)

ASSURANCE: tuple[tuple[frozenset[str], Assurance], ...] = (
    (frozenset({PASSKEY, HARDWARE}), Assurance(3, phishing_resistant=True)),
    # User-verifying passkeys are multi-factor and bound to the origin (SP 800-63B 3.1.7, 3.2.5).
    (frozenset({PASSKEY}), Assurance(2, phishing_resistant=True)),
    (frozenset({PASSWORD, TOTP}), Assurance(2)),
    (frozenset({PASSWORD, RECOVERY}), Assurance(2)),
    (frozenset({UPSTREAM, TOTP}), Assurance(2)),
    (frozenset({UPSTREAM, RECOVERY}), Assurance(2)),
    (frozenset({PASSWORD}), Assurance(1)),
    (frozenset({UPSTREAM}), Assurance(1)),
)
"""First row whose methods are all there decides. No row: nothing was proven."""


def assess_methods(methods: Iterable[str], upstream: Assurance | None = None) -> Assurance:
    """Return what these methods prove together, at least what the upstream provider vouches for."""
    kinds = {UPSTREAM if method.startswith(PROVIDERS) else method for method in methods}
    own = next((worth for needed, worth in ASSURANCE if needed <= kinds), Assurance())
    if upstream is None:
        return own
    return Assurance(
        max(own.aal, upstream.aal), phishing_resistant=own.phishing_resistant or upstream.phishing_resistant
    )
