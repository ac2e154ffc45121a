"""How sure an app wants to be that it is the person, in SAML's words, and what brings that here.

Limen tells two strengths: some sign-in, and one with several factors. A class that means one of them is
answered in the words of the app.

Source: SAML 2.0 core, section 3.3.2.2.1; authentication context classes; REFEDS MFA Profile.
"""

from collections.abc import Sequence

PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"  # noqa: S105 - a class's name
MFA = "https://refeds.org/profile/mfa"

SOME = (
    PASSWORD,
    "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
    "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified",
    "https://refeds.org/profile/sfa",
)
"""Classes that any sign-in meets."""

SEVERAL = (
    MFA,
    "http://schemas.microsoft.com/claims/multipleauthn",
    "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken",
    "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorContract",
)
"""Classes that a sign-in of AAL 2 meets."""


def find_class(contexts: Sequence[str], comparison: str, aal: int) -> tuple[str, bool]:
    """Return the class to answer with, and whether a second factor is needed first. Empty: none can be met.

    Args:
        contexts: what the app asks for, the preferred one first; empty for anything.
        comparison: `exact`, `minimum`, `better` (than each of them) or `maximum`.
        aal: of the session.
    """
    several = aal >= 2
    if not contexts:
        return (MFA if several else PASSWORD), False
    known = [one for one in contexts if one in (*SOME, *SEVERAL)]
    if comparison == "better":
        return (MFA, not several) if all(one in SOME for one in contexts) else ("", False)
    if comparison == "minimum" and known:
        wanted = next((one for one in known if one in SOME), known[0])
        return (MFA if several and wanted in SOME else wanted), wanted not in SOME and not several
    met = [one for one in known if several or one in SOME]
    if met:
        return met[0], False
    return (known[0], True) if known else ("", False)
