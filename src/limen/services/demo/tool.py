"""The admin tool: engineers turn features on and off; its `/admin` part is for administrators.

It verifies the assertion, and leaves the question who may enter `/admin` to the gateway: that is the
point of a route with an action of its own.
"""

import threading
from html import escape

from limen.services.demo.identity import NOT_VOUCHED_FOR, Verifier, Visitor
from limen.services.demo.web import Request, Response, html_page, read_style, see_other, text_page

FEATURES = {
    "new-checkout": "The checkout with one page",
    "dark-theme": "A dark theme for customers",
    "nightly-export": "Export to the warehouse each night",
}

STYLE = read_style("tool.css")


class Tool:
    """The app, with its state in memory."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._on = {"dark-theme"}
        self._frozen = False
        self._done: list[str] = []
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        visitor = self._verifier.verify_visitor(request.headers)
        if visitor is None:
            return text_page("Who is this?", NOT_VOUCHED_FOR, 401)
        with self._lock:
            match (request.method, request.path):
                case ("GET" | "HEAD", "/"):
                    return self._front(request, visitor)
                case ("GET" | "HEAD", "/admin"):
                    return self._admin(request, visitor)
                case ("POST", "/admin/freeze"):
                    self._frozen = not self._frozen
                    self._note(visitor, "froze all features" if self._frozen else "lifted the freeze")
                    return see_other("/admin")
                case ("POST", path) if path.removeprefix("/features/") in FEATURES:
                    return self._turn(path.removeprefix("/features/"), visitor)
        return text_page("Nothing here", "The tool has / and /admin.", 404)

    def _turn(self, feature: str, visitor: Visitor) -> Response:
        if self._frozen:
            return text_page("Frozen", "An administrator has frozen all features.", 409)
        self._on ^= {feature}
        self._note(visitor, f"turned {feature} {'on' if feature in self._on else 'off'}")
        return see_other("/")

    def _note(self, visitor: Visitor, what: str) -> None:
        self._done = [f"{visitor.username} {what}", *self._done][:20]

    def _front(self, request: Request, visitor: Visitor) -> Response:
        rows = "".join(self._row(feature, title) for feature, title in FEATURES.items())
        return _page(request, visitor, "Features", f"<ul>{rows}</ul>")

    def _row(self, feature: str, title: str) -> str:
        on = feature in self._on
        state = '<span class="on">on</span>' if on else "<span>off</span>"
        return (
            f"<li><div><b>{feature}</b><br>{title}</div>{state}"
            f'<form method="post" action="/features/{feature}">'
            f"<button>Turn {'off' if on else 'on'} {feature}</button></form></li>"
        )

    def _admin(self, request: Request, visitor: Visitor) -> Response:
        done = "".join(f"<li>{escape(line)}</li>" for line in self._done) or "<li>Nothing yet.</li>"
        label = "Lift the freeze" if self._frozen else "Freeze all features"
        return _page(
            request,
            visitor,
            "Administration",
            f'<form method="post" action="/admin/freeze"><button class="warn">{label}</button></form>'
            f"<h2>What was done</h2><ul>{done}</ul>",
        )


def _page(request: Request, visitor: Visitor, title: str, body: str) -> Response:
    return html_page(
        f"{title} · tool",
        STYLE,
        f"<b>tool</b><span>{escape(visitor.username)}</span>"
        '<nav aria-label="Parts"><a href="/">features</a> <a href="/admin">admin</a></nav>'
        f'<a href="{escape(request.hub_url)}">My apps</a>',
        f"<h1>{title}</h1>{body}",
    )
