"""What a provider's own word for a sign-in is worth: a table per provider; what it does not have is AAL 1."""

from collections.abc import Iterable, Mapping

from limen.core.identity_config import AssuranceRule
from limen.information.identity.assurance import Assurance

AMR: Mapping[str, AssuranceRule] = {
    "mfa": AssuranceRule(2),  # RFC 8176 section 2
}
ACR: Mapping[str, AssuranceRule] = {
    "phr": AssuranceRule(2, phishing_resistant=True),  # OpenID EAP ACR Values 1.0, section 2
    "phrh": AssuranceRule(2, phishing_resistant=True),
    "http://schemas.openid.net/pape/policies/2007/06/multi-factor": AssuranceRule(2),
    "https://refeds.org/profile/mfa": AssuranceRule(2),
}
"""What counts where a bundle gives a provider no table of its own."""

VALUES_MAX = 64  # of `amr` that are looked at


def assess_upstream(
    amr: object,
    acr: object,
    *,
    amr_table: Mapping[str, AssuranceRule] | None = None,
    acr_table: Mapping[str, AssuranceRule] | None = None,
) -> Assurance:
    """Return what a provider's `amr` and `acr` are worth, whatever they are made of.

    AAL and resistance come from one row, the best: no two rows add up to what neither says.
    """
    listed = [amr] if isinstance(amr, str) else amr if isinstance(amr, list | tuple) else []
    return best_of(
        [
            *_rows(AMR if amr_table is None else amr_table, listed[:VALUES_MAX]),
            *_rows(ACR if acr_table is None else acr_table, [acr]),
        ]
    )


def assess_context(context: str, table: Mapping[str, AssuranceRule]) -> Assurance:
    """Return what a SAML authentication context class is worth."""
    return best_of(_rows(table, [context]))


def best_of(rows: Iterable[AssuranceRule]) -> Assurance:
    """Return the most that rows of a table say; AAL 1 for none."""
    found = [Assurance(row.aal, phishing_resistant=row.phishing_resistant) for row in rows]
    return max([Assurance(1), *found])


def _rows(table: Mapping[str, AssuranceRule], values: Iterable[object]) -> list[AssuranceRule]:
    return [table[value] for value in values if isinstance(value, str) and value in table]
