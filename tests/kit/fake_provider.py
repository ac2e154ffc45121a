"""An OpenID provider in memory, honest by default, whose every answer can be bent."""

import base64
import hashlib
import json
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from limen.core.clock import FakeClock

ISSUER = "https://idp.corp.example"


@cache
def _key(issuer: str) -> RSAKey:
    """Making a key costs more than a sign-in; a provider has one for all tests of a process."""
    return RSAKey.generate_key(2048, {"kid": "k1"})


class FakeProvider(httpx.BaseTransport):
    """Answers discovery, keys, token and userinfo. `claims`, `userinfo`, `metadata` are laid over its own.

    `pages` are further documents, by path; `asked` counts requests, by path.
    """

    def __init__(self, clock: FakeClock, issuer: str = ISSUER) -> None:
        self.clock = clock
        self.issuer = issuer
        self.key = _key(issuer)
        self.header: dict[str, Any] = {"kid": "k1"}
        self.pages: dict[str, httpx.Response] = {}
        self.asked: dict[str, int] = {}
        self.jwks: list[dict[str, Any]] | None = None
        self.signing = self.key
        self.alg = "RS256"
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.sent: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.down = False

    def authorize(self, url: str, **more: str) -> str:
        """Sign the person in, and return where the browser is sent back to."""
        query = dict(parse_qsl(urlsplit(url).query))
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": self.issuer, **more}
        answer = {name: value for name, value in answer.items() if value != ""}
        return str(httpx.URL(query["redirect_uri"], params=answer))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked[request.url.path] = self.asked.get(request.url.path, 0) + 1
        if self.down:
            raise httpx.ConnectError("nobody there", request=request)
        if request.url.path in self.pages:
            return self.pages[request.url.path]
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self._metadata())
        if request.url.path == "/jwks":
            own = [self.key.as_dict(private=False)]
            return httpx.Response(200, json={"keys": own if self.jwks is None else self.jwks})
        if request.url.path == "/token":
            return self._token(request)
        if request.url.path == "/me":
            return httpx.Response(200, json={"sub": "s-1", **self.userinfo})
        return httpx.Response(404)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/me",
            **self.metadata,
        }

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        self.sent = {**form, "authorization": request.headers.get("authorization", "")}
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return httpx.Response(400, json={"error": "invalid_grant"})
        now = int(self.clock.now())
        claims = {"iss": self.issuer, "sub": "s-1", "aud": asked["client_id"], "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], **self.claims}  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return httpx.Response(
            200, json={"access_token": "at", "token_type": "Bearer", "id_token": self.sign(claims)}
        )

    def logout_token(self, audience: str, **claims: Any) -> str:
        """Return a logout token of this provider; None takes a claim away."""
        now = int(self.clock.now())
        event = "http://schemas.openid.net/event/backchannel-logout"
        own = {"iss": self.issuer, "aud": audience, "iat": now, "exp": now + 120,
               "jti": f"j-{len(self.sent)}", "events": {event: {}}, **claims}  # fmt: skip
        return self.sign({name: value for name, value in own.items() if value is not None})

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims as `alg`, `signing` and `header` say."""
        if self.alg == "none":
            parts = [json.dumps({"alg": "none"}).encode(), json.dumps(claims).encode()]
            return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts) + "."
        return jwt.encode({"alg": self.alg, **self.header}, claims, self.signing, algorithms=[self.alg])


class Network(httpx.BaseTransport):
    """Several providers, each at the host of its issuer."""

    def __init__(self, *providers: FakeProvider) -> None:
        self._at = {urlsplit(one.issuer).hostname: one for one in providers}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        found = self._at.get(request.url.host)
        if found is None:
            raise httpx.ConnectError("no such host", request=request)
        return found.handle_request(request)
