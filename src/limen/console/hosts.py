"""Which of control's three faces a request is for: the sign-in host, an app's host, or this machine.

Nothing of one face answers on another (misdirected requests are 421): cookies are per host, and so is
everything that they open. Below some prefixes of the sign-in host (`/api`, `/scim/v2`) are applications for
programs, which know no cookie, and bound their bodies themselves.
"""

from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limen.console.guard import PEER
from limen.core.catalogue import Catalogue

INTERNAL_HOSTS = frozenset({"localhost", "control"})
"""What a program on this machine calls control by on its Unix socket. Envoy never sends these names."""

BODY_MAX_BYTES = 65_536  # the largest form is a passkey of some 4 kB
SAML_BODY_MAX_BYTES = 393_216  # but for SAML's: a response that lists a thousand groups, in Base64
SAML = ("/saml/", "/saml-idp/")


class HostGate:
    """Dispatches by host, and bounds bodies."""

    def __init__(
        self, catalogue: Callable[[], Catalogue], *, auth: ASGIApp, apps: ASGIApp, internal: ASGIApp
    ) -> None:
        self._catalogue = catalogue
        self._auth = auth
        self._apps = apps
        self._internal = internal
        self._mounts: dict[str, ASGIApp] = {}

    def mount(self, prefix: str, app: ASGIApp) -> None:
        """Answer what is below `prefix` of the sign-in host by this application, and `prefix` itself."""
        assert prefix.startswith("/") and not prefix.endswith("/")
        self._mounts[prefix] = app

    def mounted(self, prefix: str) -> ASGIApp:
        """Return what was mounted there."""
        return self._mounts[prefix]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._auth(scope, receive, send)
            return
        target = self._choose(scope)
        if target is None:
            answer = PlainTextResponse("No such host here.\n", status_code=421)
            await answer(scope, receive, send)
            return
        below = self._find_mount(scope["path"]) if target is self._auth else None
        if below is not None:
            await self._mounts[below]({**scope, "root_path": below}, receive, send)
            return
        body = _BoundedBody(
            receive, SAML_BODY_MAX_BYTES if scope["path"].startswith(SAML) else BODY_MAX_BYTES
        )
        if body.announced(scope):
            await PlainTextResponse("Too large.\n", status_code=413)(scope, receive, send)
            return
        await target(scope, body.receive, send)

    def _find_mount(self, path: str) -> str | None:
        return next((one for one in self._mounts if path == one or path.startswith(f"{one}/")), None)

    def _choose(self, scope: Scope) -> ASGIApp | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").rpartition("@")[2].partition(":")[0].lower()
        catalogue = self._catalogue()
        if host == catalogue.auth_host:
            return self._auth
        if host in INTERNAL_HOSTS and PEER not in headers:
            return self._internal
        app = next((app.name for app in catalogue.apps.values() if app.host == host), None)
        if app is None:
            return None
        scope["limen.app"] = app
        return self._apps


class _BoundedBody:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    def announced(self, scope: Scope) -> bool:
        """Whether the request says that its body is too large."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return not length.isdigit() or int(length) > self._limit

    async def receive(self) -> Message:
        """Pass a part of the body on; what is over the bound ends the request as a broken one."""
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            return {"type": "http.disconnect"}
        return message
