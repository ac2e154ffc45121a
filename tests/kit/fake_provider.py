"""An OpenID provider in memory, honest by default, whose every answer can be bent."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from limen.core.clock import FakeClock

ISSUER = "https://idp.corp.example"


class FakeProvider(httpx.BaseTransport):
    """Answers discovery, keys, token and userinfo. `claims`, `userinfo`, `metadata` are laid over its own."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.key = RSAKey.generate_key(2048, {"kid": "k1"})
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
        answer = {"code": code, "state": query["state"], "iss": ISSUER, **more}
        answer = {name: value for name, value in answer.items() if value != ""}
        return str(httpx.URL(query["redirect_uri"], params=answer))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if self.down:
            raise httpx.ConnectError("nobody there", request=request)
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self._metadata())
        if request.url.path == "/jwks":
            return httpx.Response(200, json={"keys": [self.key.as_dict(private=False)]})
        if request.url.path == "/token":
            return self._token(request)
        if request.url.path == "/me":
            return httpx.Response(200, json={"sub": "s-1", **self.userinfo})
        return httpx.Response(404)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "userinfo_endpoint": f"{ISSUER}/me",
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
        claims = {"iss": ISSUER, "sub": "s-1", "aud": asked["client_id"], "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], **self.claims}  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return httpx.Response(
            200, json={"access_token": "at", "token_type": "Bearer", "id_token": self._sign(claims)}
        )

    def _sign(self, claims: dict[str, Any]) -> str:
        if self.alg == "none":
            parts = [json.dumps({"alg": "none"}).encode(), json.dumps(claims).encode()]
            return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts) + "."
        return jwt.encode({"alg": self.alg, "kid": "k1"}, claims, self.signing, algorithms=[self.alg])
