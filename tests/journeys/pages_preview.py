"""Every page with realistic contexts: the tests' table, and a look at them.

    .venv/bin/python tests/journeys/pages_preview.py OUT

writes OUT/<name>.html and, per theme and width, a screenshot beside it. Not shipped.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from limen.console import pages

NOW = 1_800_000_000.0
DOMAIN = "limen.localhost"
AUTH = "https://auth.limen.localhost:8443"
ADA = {"username": "ada", "name": "Ada Lovelace"}
ONWARD = "/onward"
"""Where pages lead that go on by themselves; here they stay, to be looked at."""

EVERY: dict[str, Any] = {"csrf": "t0k3n", "domain": DOMAIN}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Safari/604.1"
)
DECISION = "01a31ad9c40f5be2d0c97e41aa03b6f8"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
QR = pages.qr_svg(f"otpauth://totp/Limen:ada@{DOMAIN}?secret={SECRET}&issuer=Limen")
CODES = [f"{n:04x}-{n * 7 % 65536:04x}-{n * 31 % 65536:04x}" for n in range(41_001, 62_000, 2_011)][:10]

_REQUEST = {"method": "GET", "path": "/salaries/2026/november", "at": NOW}
_DENIED: dict[str, Any] = {
    **EVERY,
    "person": ADA,
    "auth_url": AUTH,
    "decision_id": DECISION,
    "app": "payroll",
    "request": _REQUEST,
}
_APPS = [
    {"name": "wiki", "url": "https://wiki.limen.localhost:8443/", "owner": "Grace Hopper", "labels": [],
     "reachable": True, "why": ""},
    {"name": "payroll", "url": "https://payroll.limen.localhost:8443/", "owner": "Annie Easley",
     "labels": ["phi"], "reachable": False, "why": "Health data opens only with a passkey."},
    {"name": "notebooks", "url": "https://notebooks.limen.localhost:8443/", "owner": "Katherine Johnson",
     "labels": ["source", "research"], "reachable": True, "why": ""},
    {"name": "git", "url": "https://git.limen.localhost:8443/", "owner": None, "labels": ["source"],
     "reachable": True, "why": ""},
    {"name": "admin", "url": "https://admin.limen.localhost:8443/", "owner": "Radia Perlman", "labels": [],
     "reachable": None, "why": "The /admin part asks for a sign-in under 15 minutes old."},
]  # fmt: skip
_ACCOUNT: dict[str, Any] = {
    **EVERY,
    "person": ADA,
    "now": NOW,
    "sessions": [
        {"id": "ses_1", "started": NOW - 5400, "seen": NOW - 12, "ip": "192.0.2.14", "agent": FIREFOX,
         "current": True, "aal": 2, "apps": ["wiki", "notebooks"]},
        {"id": "ses_2", "started": NOW - 190_000, "seen": NOW - 7300,
         "ip": "2001:db8:85a3:8d3:1319:8a2e:370:7348", "agent": PHONE, "current": False, "aal": 2,
         "apps": ["wiki"]},
    ],
    "passkeys": [
        {"id": "k1", "name": "Work laptop", "created": NOW - 8_000_000, "used": NOW - 5400,
         "backed_up": False, "model": "cb69481e-8ff7-4039-93ec-0a2729a154a8", "hardware": True,
         "counts": True},
        {"id": "k2", "name": "Phone", "created": NOW - 4_000_000, "used": None, "backed_up": True,
         "model": "", "hardware": False, "counts": False},
    ],
    "totp": True,
    "recovery_left": 2,
    "tokens": [{"name": "Nightly build", "app": "git", "expires": NOW + 3000, "hash": "ab12"}],
    "apps": ["wiki", "git", "notebooks"],
}  # fmt: skip
_ENROL: dict[str, Any] = {**EVERY, "action": "/enrol/abc", "person": ADA}

_COMPLAINT: dict[str, Any] = {
    "id": "cmp_1",
    "decision": "0191c2a9d3b07c5f8e21a4d06b7f9c13",
    "person": "ada",
    "resource": "payroll",
    "owner": "annie",
    "text": "I keep these sheets.\nSince Monday they are closed to me.",
    "at": NOW - 7200,
    "answer": None,
    "answered_at": None,
    "answered_by": None,
}

PREVIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "login": ("login.html", {**EVERY, "action": "/login", "app": "wiki", "flow": "f1"}),
    "login-providers": (
        "login.html",
        {
            **EVERY,
            "action": "/login",
            "username": "ada",
            "error": "Username or password is not right. Check both and try again.",
            "providers": [{"name": "Example University", "url": "/oidc/uni/start"}],
        },
    ),
    "login-name-first": (
        "login.html",
        {**EVERY, "action": "/login", "ask_password": False, "password_url": "/login?ask=password"},
    ),
    "onward": (
        "onward.html",
        {**EVERY, "title": "Going on to Example", "url": ONWARD, "label": "Go on to Example"},
    ),
    "onward-form": (
        "onward_form.html",
        {
            **EVERY,
            "title": "Going on to the app",
            "url": ONWARD,
            "label": "Go on",
            "fields": {"SAMLResponse": "PHNhbWxwOlJlc3BvbnNlLz4=", "RelayState": "deep/link"},
        },
    ),
    "providers": (
        "providers.html",
        {
            **EVERY,
            "person": ADA,
            "now": NOW,
            "linked": [
                {"source": "oidc:uni", "subject": "ada-17", "title": "Example University",
                 "linked": NOW - 90_000, "own": True},
            ],
            "linkable": [{"name": "corp", "title": "Corp"}],
        },
    ),
    "login-plain": ("login.html", {**EVERY, "action": "/login", "passkey": False}),
    "code": (
        "code.html",
        {**EVERY, "action": "/login/code", "methods": {"totp", "passkey", "recovery"}, "person": ADA},
    ),
    "code-error": (
        "code.html",
        {
            **EVERY,
            "action": "/login/code",
            "methods": {"totp", "recovery"},
            "person": ADA,
            "error": "That code did not fit. Wait for the next one and type it.",
        },
    ),
    "code-recovery": (
        "code.html",
        {**EVERY, "action": "/login/code", "methods": {"recovery"}, "person": ADA},
    ),
    "stepup-passkey": (
        "stepup.html",
        {
            **EVERY,
            "need": "passkey",
            "sentence": "Health data opens only with a passkey.",
            "action": "/stepup",
            "methods": {"passkey"},
            "app": "payroll",
            "person": ADA,
            "cancel_url": "/",
        },
    ),
    "stepup-fresh": (
        "stepup.html",
        {
            **EVERY,
            "need": "fresh-sign-in",
            "sentence": "Your sign-in is older than an hour.",
            "action": "/stepup",
            "methods": {"password", "totp", "passkey", "recovery"},
            "app": "payroll",
            "person": ADA,
        },
    ),
    "stepup-none": (
        "stepup.html",
        {
            **EVERY,
            "need": "passkey",
            "sentence": "Health data opens only with a passkey, and you have none yet.",
            "action": "/stepup",
            "methods": set(),
            "app": "payroll",
            "person": ADA,
        },
    ),
    "enrol-first": (
        "enrol.html",
        {**EVERY, "action": "/enrol/abc", "step": "password", "position": (1, 3)},
    ),
    "enrol-password": (
        "enrol.html",
        {**_ENROL, "step": "password", "position": (1, 3), "error": "That password is a common one."},
    ),
    "enrol-choose": ("enrol.html", {**_ENROL, "step": "choose", "position": (2, 3)}),
    "enrol-totp": (
        "enrol.html",
        {**_ENROL, "step": "totp", "position": (2, 3), "qr_svg": QR, "secret": SECRET},
    ),
    "enrol-passkey": ("enrol.html", {**_ENROL, "step": "passkey", "position": (2, 3)}),
    "enrol-recovery": (
        "enrol.html",
        {**_ENROL, "step": "recovery", "position": (3, 3), "recovery_codes": CODES},
    ),
    "denied": (
        "denied.html",
        {
            **_DENIED,
            "title": "Payroll did not open for you.",
            "action": "read",
            "reasons": [
                "Health data opens only with a passkey.",
                "Payroll asks for a sign-in that is less than an hour old.",
            ],
            "remedies": [
                {"id": "passkey", "sentence": "Confirm that it is you with your passkey.",
                 "url": f"{AUTH}/stepup?need=passkey", "button": "Use a passkey"},
                {"id": "fresh-sign-in", "sentence": "Sign in again; it has been two hours.",
                 "url": f"{AUTH}/stepup?need=fresh", "button": "Sign in again"},
            ],
            "owner": "Annie Easley",
            "owner_url": "mailto:annie@example.org",
            "wrong_url": f"{AUTH}/complaints/new?decision=0191",
        },
    ),
    "denied-one": (
        "denied.html",
        {
            **_DENIED,
            "app": "wiki",
            "title": "The wiki needs a second factor.",
            "reasons": ["Sign in with a second factor."],
            "remedies": [
                {"id": "second-factor", "sentence": "Add a code or a passkey to this sign-in.",
                 "url": f"{AUTH}/stepup?need=second-factor", "button": "Add a second factor"},
            ],
        },
    ),
    "denied-later": (
        "denied.html",
        {
            **_DENIED,
            "title": "Payroll is closed at this hour.",
            "reasons": ["Payroll opens on working days between 8 and 18 o’clock."],
            "remedies": [{"id": "later", "sentence": "Come back on Monday at 08:00.", "url": None}],
            "owner": "Annie Easley",
        },
    ),
    "denied-none": (
        "denied.html",
        {
            **_DENIED,
            "app": "admin",
            "title": "Nothing lets you into admin.",
            "reasons": ["No rule of this organisation gives you this app."],
            "owner": "Radia Perlman",
            "owner_url": "mailto:radia@example.org",
        },
    ),
    "warned": (
        "warned.html",
        {
            **_DENIED,
            "title": "From 31 December 2026, this door will be closed to you",
            "day": "31 December 2026",
            "continue_url": "/salaries?month=7",
            "reasons": ["Health data opens only with a passkey."],
            "remedies": [
                {"id": "passkey", "sentence": "Confirm that it is you with your passkey.",
                 "url": f"{AUTH}/stepup?need=passkey", "button": "Use a passkey"},
            ],
            "owner": "Annie Easley",
            "wrong_url": f"{AUTH}/complaints/new?decision=0191",
        },
    ),
    "break-glass": ("break_glass.html", {**EVERY, "action": "/break-glass", "error": "That did not match."}),
    "alarm": ("apps.html", {**EVERY, "person": ADA, "apps": _APPS, "alarm": NOW}),
    "complaint": (
        "complaint.html",
        {
            **EVERY,
            "person": ADA,
            "action": "/complaints",
            "decision_id": "0191c2a9d3b07c5f8e21a4d06b7f9c13",
            "resource": "payroll",
            "owner": "annie",
            "at": NOW - 60,
            "text_max": 1000,
        },
    ),
    "apps": ("apps.html", {**EVERY, "person": ADA, "apps": _APPS}),
    "apps-services": ("apps.html", {**EVERY, "person": ADA, "apps": _APPS[:2], "services": [
        {"name": "ledger-db", "protocol": "postgres", "owner": "Grace Hopper", "reachable": True, "why": ""},
        {"name": "bastion", "protocol": "ssh", "owner": None, "reachable": False, "why": ""},
    ]}),
    "apps-none": ("apps.html", {**EVERY, "person": ADA, "apps": []}),
    "account": ("account.html", _ACCOUNT),
    "account-complaints": (
        "account.html",
        {
            **_ACCOUNT,
            "complaints": [
                {**_COMPLAINT, "answer": "You are in the group now.", "answered_at": NOW - 30,
                 "answered_by": "annie"},
                _COMPLAINT,
            ],
            "asked_of_me": [
                {**_COMPLAINT, "person": "grace", "owner": "ada", "resource": "wiki"},
                {**_COMPLAINT, "person": "joan", "owner": "ada", "resource": "wiki", "answer": "Done.",
                 "answered_at": NOW - 30, "answered_by": "ada"},
            ],
        },
    ),
    "account-new": (
        "account.html",
        {
            **_ACCOUNT,
            "passkeys": [],
            "tokens": [],
            "totp": False,
            "recovery_left": 0,
            "notice": "The token is made.",
            "new_token": {"name": "pip", "app": "wiki", "expires": NOW + 3600,
                          "token": "l1.42.mZ0v8yq4mJ6n5cLw3uRk0sTq9hXb2fVd7eGa1iPzYoU.c3VwZXJzZWNyZXR0YWcx"},
        },
    ),
    "connect-consent": (
        "connect.html",
        {
            **EVERY,
            "person": ADA,
            "title": "Sign in limen on this computer?",
            "sentences": (
                "A program on this computer wants to open services in your name.",
                "Say yes only if you have just run limen login.",
            ),
            "action": "/connect/authorize",
            "values": {"state": "s"},
        },
    ),
    "connect-code": (
        "connect.html",
        {
            **EVERY,
            "person": ADA,
            "title": "Sign in a program",
            "sentences": ("Type the code that limen login shows.",),
            "step": "code",
            "action": "/device",
            "error": "No program waits under this code. Check the code, or run `limen login` again.",
        },
    ),
    "client-onward": (
        "client_onward.html",
        {
            **EVERY,
            "person": ADA,
            "title": "On to Grafana",
            "url": ONWARD,
            "label": "Go to Grafana",
        },
    ),
    "signed-out": (
        "signed_out.html",
        {
            **EVERY,
            "title": "You are signed out",
            "go_on": "https://grafana.example/bye",
            "client": "Grafana",
            "frames": ["/of/the/client?sid=s"],
        },
    ),
    "signed-out-alone": ("signed_out.html", {**EVERY, "title": "You are signed out"}),
    "recover-ask": ("recover.html", {**EVERY, "step": "ask", "action": "/recover"}),
    "recover-next": (
        "recover.html",
        {
            **EVERY,
            "step": "next",
            "action": "/recover/next",
            "spoken": "7k3m-9xq2",
            "approve_url": f"{AUTH}/recover/approve",
            "error": "That was not enough, or did not match. All that you give must be right.",
        },
    ),
    "recover-mailed": (
        "recover.html",
        {**EVERY, "step": "next", "action": "/recover/next", "spoken": "7k3m-9xq2", "mailed": True},
    ),
    "recover-approved-only": (
        "recover.html",
        {**EVERY, "step": "next", "action": "/recover/next", "spoken": "7k3m-9xq2", "alone": False},
    ),
    "recover-ready": ("recover.html", {**EVERY, "step": "ready", "action": "/recover/take"}),
    "recover-link": (
        "recover.html",
        {
            **EVERY,
            "now": NOW,
            "step": "link",
            "action": "/recover/link/t",
            "asked": {"at": NOW - 95, "ip": "203.0.113.66", "agent": FIREFOX, "person": "ada"},
        },
    ),
    "recover-approve": (
        "recover.html",
        {**EVERY, "person": ADA, "step": "approve", "action": "/recover/approve"},
    ),
    "recover-confirm": (
        "recover.html",
        {
            **EVERY,
            "now": NOW,
            "person": ADA,
            "step": "confirm",
            "action": "/recover/approve/confirm",
            "code": "7k3m-9xq2",
            "candidate": {"person": "grace", "name": "Grace Hopper", "asked_at": NOW - 240,
                          "asked_from": "192.0.2.14", "agent": FIREFOX, "signed_in_at": NOW - 7300,
                          "live_sessions": 1},
        },
    ),
    "message-out": (
        "message.html",
        {
            **EVERY,
            "title": "You are signed out",
            "sentences": ["Every app of this browser is closed as well."],
            "actions": [{"url": "/login", "label": "Sign in again", "method": "get"}],
            "door": "closed",
        },
    ),
    "message-callback": (
        "message.html",
        {
            **EVERY,
            "title": "This sign-in began elsewhere",
            "sentences": ["This browser did not start the sign-in that was answered, or it came too late."],
            "actions": [
                {"url": "/", "label": "Start again", "method": "get"},
                {"url": "/logout", "label": "Sign out", "method": "post"},
            ],
        },
    ),
    "message-503": (
        "message.html",
        {
            **EVERY,
            "title": "The door is stuck",
            "sentences": ["Limen cannot decide at this moment, so nothing opens. Try again in a minute."],
            "actions": [{"url": "", "label": "Try again", "method": "get"}],
            "door": "closed",
            "decision_id": DECISION,
        },
    ),
}  # fmt: skip


class _Pages(BaseHTTPRequestHandler):
    """The previews and static files, with the headers that the real routes send."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer `/<preview>` and `/.limen/static/<name>`."""
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith(pages.STATIC_PREFIX) and name in pages.static_assets():
            asset = pages.static_assets()[name]
            body = b"" if name == "onward.js" else asset.body
            self._answer(body, {"content-type": asset.media_type, "x-content-type-options": "nosniff"})
        elif path.startswith("/of/"):  # what a client answers in a frame
            self._answer(b"ok", {"content-type": "text/plain"})
        elif name in PREVIEWS:
            template, context = PREVIEWS[name]
            html = pages.render(template, **context).replace('http-equiv="refresh"', 'name="onward"')
            headers = pages.page_headers()
            if context.get("frames"):
                headers["content-security-policy"] += "; frame-src 'self'"
            self._answer(html.encode(), headers)
        else:
            self._answer(b"", {}, 404)

    def _answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Refuse passkey calls in the words of a server, so that pages stay as they are."""
        self.rfile.read(int(self.headers.get("content-length", "0")))
        body = b'{"error": "This is only a preview."}'
        self._answer(body, {"content-type": "application/json"}, 200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def preview_server() -> Iterator[str]:
    """Serve the previews on a loopback port; yields the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Write the pages and their screenshots."""
    from playwright.sync_api import sync_playwright

    out = Path(sys.argv[1])
    wanted = sys.argv[2:] or list(PREVIEWS)
    out.mkdir(parents=True, exist_ok=True)
    with preview_server() as base, sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for theme in ("light", "dark"):
            for width, height in ((390, 844), (1280, 800)):
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
                )
                for name in wanted:
                    page.goto(f"{base}/{name}")
                    page.screenshot(path=out / f"{name}-{theme}-{width}.png", full_page=True)
                page.close()
        browser.close()
    for name in wanted:
        template, context = PREVIEWS[name]
        (out / f"{name}.html").write_text(pages.render(template, **context))


if __name__ == "__main__":
    main()
