"""Roles of Limen itself: groups that a bundle's policies may name. What each may do, the policies say.

Law: R1 no source gives a role. Membership of these groups is kept here and nowhere else: what a provider,
    a directory or a SCIM client says of them is left out.
"""

from collections.abc import Mapping

ADMINS = "limen-admins"
OPERATORS = "limen-operators"
HELPDESK = "limen-helpdesk"
AUDITORS = "limen-auditors"
BREAK_GLASS = "limen-break-glass"

ROLE_GROUPS: Mapping[str, str] = {
    ADMINS: "Administrators of Limen",
    OPERATORS: "Operators of Limen",
    HELPDESK: "Help desk",
    AUDITORS: "Auditors",
    BREAK_GLASS: "Emergency access",
}
"""Groups of the roles, and their titles."""

EMERGENCY = "break-glass"
"""The person who is whoever has the sealed credential."""
BREAK_GLASS_METHOD = "break-glass"
"""How a session says that it came from the sealed credential: in `context.session.methods`."""

OWNER_PARTS = ("decisions", "grants")
"""Parts of the administration that each resource with an owner has one of its own: `limen/grants/wiki`."""
