"""Payroll: pay and sick leave, so it bears the label `phi`. It verifies the assertion."""

from html import escape

from limen.services.demo.identity import NOT_VOUCHED_FOR, Verifier, Visitor
from limen.services.demo.web import Request, Response, html_page, read_style, text_page

ROWS = (
    ("Ada Byron", "Engineering", 7_400, 2, ""),
    ("Grace Murray", "People", 6_900, 0, ""),
    ("Joan Clarke", "Security", 7_100, 1, ""),
    ("Linus Tor", "Contractor", 0, 0, "paid by invoice"),
    ("Radia Perl", "Engineering", 7_900, 12, "returns part-time"),
)
"""Name, department, monthly pay in euro, days of sick leave this year, note. All of it made up."""

STYLE = read_style("payroll.css")


class Payroll:
    """The app."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        visitor = self._verifier.verify_visitor(request.headers)
        if visitor is None:
            return text_page("Who is this?", NOT_VOUCHED_FOR, 401)
        if request.path != "/":
            return text_page("Nothing here", "Payroll has one page.", 404)
        return _sheet(request, visitor)


def _sheet(request: Request, visitor: Visitor) -> Response:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{department}</td><td class=number>{pay:,}</td>"
        f"<td class=number>{days}</td><td>{note}</td></tr>"
        for name, department, pay, days, note in ROWS
    )
    return html_page(
        "Payroll",
        STYLE,
        f'<b>Payroll</b><span>health data</span><a href="{escape(request.hub_url)}">My apps</a>',
        f"<h1>This month</h1><p>Opened by {escape(visitor.name or visitor.username)}, "
        f"who signed in with: {escape(', '.join(visitor.methods))}.</p>"
        '<div class="sheet" tabindex="0" role="region" aria-label="Pay and sick leave"><table><thead><tr>'
        '<th scope="col">Name</th><th scope="col">Department</th><th scope="col" class="number">Pay, €</th>'
        '<th scope="col" class="number">Sick days</th><th scope="col">Note</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>",
    )
