"""A browser without JavaScript: signs in by the same forms as people, for the CLI and the demo's tour."""

import ssl
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from limen.core.errors import Invalid, Refused, Unavailable
from limen.core.secret import Secret

TIMEOUT_S = 20.0
CODE_PATH = "/login/code"  # where the sign-in asks for a second factor
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
LOOPBACK_SUFFIX = ".localhost"  # RFC 6761: never leaves the machine, though few resolvers know


class Form:
    """The first form of a page: where it posts, its hidden fields, the names of the others."""

    def __init__(self, url: str, html: str) -> None:
        reader = _FormReader()
        reader.feed(html)
        self.action = urljoin(url, reader.action or "")
        self.hidden = reader.hidden
        self.fields = reader.fields
        self.error = " ".join(reader.error.split())


def verified_transport(ca_file: Path | None) -> httpx.HTTPTransport:
    """Return how to reach HTTPS hosts, verified. Names below `.localhost` mean this machine.

    Raises:
        Invalid: the CA file is none.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(str(ca_file))
        except (ssl.SSLError, FileNotFoundError):
            raise Invalid(f"{ca_file} holds no certificate.", remedy="Give a PEM file of the CA.") from None
    transport = httpx.HTTPTransport(verify=context)
    transport._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=_LoopbackBackend())
    return transport


class FormClient:
    """Keeps cookies, follows redirects, fills forms in.

    Raises:
        Invalid: the CA file is none.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self.http = httpx.Client(
            transport=verified_transport(ca_file), timeout=TIMEOUT_S, follow_redirects=True
        )

    def __enter__(self) -> "FormClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Read a page, as a navigation.

        Raises:
            Unavailable: nothing answers there, or its certificate is not trusted.
        """
        return self._send("GET", url, headers={**NAVIGATION, **options.pop("headers", {})}, **options)

    def post(self, url: str, values: Mapping[str, str], *, accept: str = "text/html") -> httpx.Response:
        """Send a form, as a page of the same origin would.

        Raises:
            Unavailable: nothing answers there.
        """
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        headers = {**NAVIGATION, "Accept": accept, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
        return self._send("POST", url, data=dict(values), headers=headers)

    def submit(self, page: httpx.Response, values: dict[str, str]) -> httpx.Response:
        """Fill in the first form of a page, and send it."""
        form = Form(str(page.url), page.text)
        return self.post(form.action, {**form.hidden, **values})

    def sign_in(
        self, url: str, username: str, password: Secret[str], code: Callable[[], Secret[str]]
    ) -> httpx.Response:
        """Sign in with password and one-time code, starting at `url` (`…/login`, or any app's page).

        Raises:
            Refused: the sign-in failed; the message is the page's own. Or it asks for something else.
        """
        page = self.get(url)
        page = self._expect("username", page, {"username": username, "password": password.reveal()}, page)
        if "code" in Form(str(page.url), page.text).fields:
            page = self._expect("code", page, {"code": code().reveal(), "method": "totp"}, page)
        elif urlsplit(str(page.url)).path == CODE_PATH:
            raise Refused(
                "This account has no authenticator app paired, so no code opens it.",
                remedy="Sign in with a browser and a passkey.",
            )
        return page

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return self.http.request(method, url, **options)
        except httpx.TransportError as error:
            raise Unavailable(
                f"{urlsplit(url).netloc} cannot be reached: {error or type(error).__name__}.",
                remedy="Check the address, and give the CA with --ca-file if it is a private one.",
            ) from None

    def _expect(
        self, field: str, page: httpx.Response, values: dict[str, str], before: httpx.Response
    ) -> httpx.Response:
        if field not in Form(str(page.url), page.text).fields:
            raise Refused(f"{before.url} does not show a sign-in form.", remedy="Check the address.")
        answer = self.submit(page, values)
        form = Form(str(answer.url), answer.text)
        if form.error or answer.status_code >= 400:
            raise Refused(
                form.error or f"Sign-in was answered with {answer.status_code}.",
                remedy="Check the username, the password and the code.",
            )
        return answer


class _LoopbackBackend(httpcore.SyncBackend):
    """Connects names below `.localhost` to 127.0.0.1."""

    def connect_tcp(self, host: str, port: int, *args: object, **kwargs: object) -> httpcore.NetworkStream:
        target = "127.0.0.1" if host.endswith(LOOPBACK_SUFFIX) else host
        return super().connect_tcp(target, port, *args, **kwargs)  # type: ignore[arg-type]


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.hidden: dict[str, str] = {}
        self.fields: set[str] = set()
        self.error = ""
        self._inside = False
        self._done = False
        self._alert = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("role") == "alert" or self._alert:
            self._alert += tag not in ("br", "img", "input", "path", "use")
        if tag == "form" and not self._done:
            self._inside, self.action = True, values.get("action")
        elif self._inside and tag in ("input", "select", "button"):
            name = values.get("name")
            if name and values.get("type") == "hidden":
                self.hidden[name] = values.get("value") or ""
            elif name:
                self.fields.add(name)

    def handle_endtag(self, tag: str) -> None:
        if self._alert:
            self._alert -= 1
        if tag == "form" and self._inside:
            self._inside, self._done = False, True

    def handle_data(self, data: str) -> None:
        if self._alert:
            self.error += data
