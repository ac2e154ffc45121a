"""The page of one person, as `limen user show` prints it."""

from collections.abc import Mapping, Sequence
from typing import Any

from limen.cli.output import out, print_fields, print_rows, render_cell

WHO = (
    *("id", "name", "email", "status", "quarantined", "kind", "sponsor", "source"),
    *("created_at", "expires_at", "signed_in_at", "signals", "recovered_until", "groups_unknown"),
    *("attributes", "has_role", "owns", "workloads", "sponsors"),
)
"""Fields of the top, in their order."""

PARTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "findings": ("To be done", {"WEIGHT": "severity", "WHAT": "what", "CURE": "cure"}),
    "authenticators": (
        "Proves themselves by",
        {"KIND": "kind", "NAME": "name", "SINCE": "since", "USED": "used_at", "ATTESTED": "attested"},
    ),
    "identities": ("Elsewhere", {"SOURCE": "source", "ID THERE": "subject", "SINCE": "linked_at"}),
    "listed_by": (
        "Directories say",
        {"SOURCE": "source", "SAYS": "says", "SINCE": "since", "EMAIL": "email"},
    ),
    "memberships": ("Groups", {"GROUP": "group", "FROM": "source"}),
    "grants": (
        "Grants",
        {"ID": "id", "TO": "to", "ON": "on", "MAY": "actions", "UNTIL": "expires_at", "WHY": "reason"},
    ),
    "opens": (
        "Would open now, signed in by their best",
        {"NAME": "name", "OPENS": "opens", "WHY NOT": "why"},
    ),
    "signed_in": (
        "Sessions",
        {
            "SESSION": "id",
            "AAL": "aal",
            "BY": "methods",
            "SIGNED IN": "auth_at",
            "SEEN": "seen_at",
            "FROM": "ip",
            "APPS": "apps",
        },
    ),
    "clients": ("Signed in at", {"CLIENT": "client", "SINCE": "since", "UNTIL": "until"}),
}
"""What follows, each a table: its heading, and its columns."""

NONE: Mapping[str, str] = {
    "findings": "Nothing is wrong.",
    "authenticators": "By nothing here.",
    "memberships": "In no group.",
    "grants": "No grant reaches them.",
    "opens": "There is no app.",
    "signed_in": "Not signed in.",
}
"""What is said of a part that is empty; others are left out."""


def print_page(page: Mapping[str, Any]) -> None:
    """Print the page."""
    print_fields({name: page[name] for name in WHO if _told(name, page.get(name))}, as_json=False)
    above = sorted(set(page["all_groups"]) - {row["group"] for row in page["memberships"]})
    for part, (heading, columns) in PARTS.items():
        rows: Sequence[Mapping[str, Any]] = page[part]
        if not rows and part not in NONE:
            continue
        out.print(f"\n{heading}", style="bold", markup=False)
        print_rows(rows, columns, as_json=False, empty=NONE.get(part, ""))
        if part == "memberships" and above:
            out.print(f"and through them: {render_cell(above)}", markup=False)
        if part == "authenticators" and page["recovery_codes_left"]:
            out.print(f"{page['recovery_codes_left']} recovery codes are left.", markup=False)


def _told(name: str, value: Any) -> bool:
    """Whether a field of the top is worth its line: the first ones always are."""
    always = ("id", "name", "email", "status", "kind", "source", "created_at", "expires_at", "signed_in_at")
    return name in always or bool(value)
