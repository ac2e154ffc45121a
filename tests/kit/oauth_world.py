"""Control with a bundle, an engine and clients, for tests of the OpenID provider."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from identity_world import AUTH, DOMAIN, Browser, World
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from limen.administrator import signing_keys
from limen.administrator.active import load_bundle
from limen.administrator.authority import Authority
from limen.administrator.policies import PolicyAdministrator
from limen.administrator.replica import Replica
from limen.administrator.session_values import Browser as Visitor
from limen.administrator.session_values import Proof
from limen.console.cookies import SESSION
from limen.core.changes import WorkloadFact
from limen.core.clock import FakeClock
from limen.core.errors import NotFound
from limen.core.record import DecisionRecord, EventRecord, Record
from limen.core.secret import Secret
from limen.information.identity.assurance import assess_methods
from limen.journal.intake import Once
from limen.store import directory

CALLBACK = "https://app.example/callback"
LIMEN_YAML = f"""
domain: {DOMAIN}
attributes: {{team: String}}
clients:
  app:
    title: The App
    url: https://app.example/
    allow: [group:staff]
    owner: grace
    oidc:
      redirect_uris: [{CALLBACK}, "http://127.0.0.1/cb"]
      post_logout_redirect_uris: [https://app.example/bye]
      grants: [authorization_code, refresh_token, device_code]
      audiences: [payments]
      claims: {{team: team}}
      frontchannel_logout_uri: https://app.example/front
      backchannel_logout_uri: https://app.example/back
      signing: ES256
  other:
    allow: [group:staff]
    oidc:
      redirect_uris: [https://other.example/callback]
      auth: secret
      secret: [other-new, other-old]
      signing: ES256
  keyed:
    allow: [group:staff]
    oidc:
      redirect_uris: [https://keyed.example/callback]
      auth: private_key_jwt
      jwks: keyed.json
      signing: ES256
  payments:
    audience: https://api.example/payments
    allow: [group:payers]
    oidc: {{grants: [device_code], auth: secret, secret: payments}}
"""
POLICY = """
@id("mfa-everywhere")
@reason("Sign in with a second factor.")
forbid(principal is User, action, resource)
unless { context has session && context.session.aal >= 2 };
"""
LIMEN_POLICY = """
@id("limen-host-operator")
@reason("The operator of Limen's host may read and administer it, on that host.")
permit(
  principal == Workload::"host-operator",
  action in [Action::"read", Action::"admin"],
  resource in App::"limen"
);
"""
SECRETS = {"other-new": "n" * 43, "other-old": "o" * 43, "payments": "p" * 43}


@cache
def _rsa() -> RSAKey:
    return RSAKey.generate_key(2048, private=True)


class MemoryJournal:
    """A journal in memory: what was written, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._once: set[str] = set()

    def append(self, record: Record, *, urgent: bool = False) -> None:
        self.records.append(record)

    def append_many(self, items: Any, *, urgent: bool = False) -> None:
        for item in items:
            if not isinstance(item, Once):
                self.records.append(item)
            elif item.id not in self._once:
                self._once.add(item.id)
                self.records.append(item.make())

    def salted(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    @property
    def decisions(self) -> list[DecisionRecord]:
        return [record for record in self.records if isinstance(record, DecisionRecord)]


class Clients(httpx.BaseTransport):
    """The clients' own servers: they take logout tokens, or do not."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.answers: list[int | Exception] = []
        self.documents: dict[str, Any] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=self.documents[str(request.url)])
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        if answer == 200:
            form = parse_qs(request.read().decode())
            self.taken.append((str(request.url), form["logout_token"][0]))
        return httpx.Response(answer)


class OauthWorld(World):
    """Control with clients. `ada` and `bob` are staff; `ada` may pay; `eve` is nobody in particular."""

    def __init__(
        self,
        folder: Path,
        *,
        limen_yaml: str = LIMEN_YAML,
        policy: str = POLICY,
        clock: FakeClock | None = None,
        port: int = 8443,
        network: bool = False,
    ) -> None:
        self.journal = MemoryJournal()
        clock = clock or FakeClock()
        self.authority = Authority(Replica(load_bundle), self.journal, clock, "control")
        self.clients = Clients()
        self.secrets = dict(SECRETS)
        super().__init__(
            folder,
            clock=clock,
            authority=self.authority,
            secret=self._secret,
            transport=None if network else self.clients,
            port=port,
        )
        self.client_key = ECKey.generate_key("P-256", private=True)
        self.files = {
            "limen.yaml": limen_yaml,
            "policies/guardrails/mfa.cedar": policy,
            "policies/entitlements/limen.cedar": LIMEN_POLICY,
            "keyed.json": _jwks(self.client_key),
        }
        with self.store.transaction("test", "start") as tx:
            tx.change("workload", "host-operator", WorkloadFact("host-operator", owner=""))
        self.store.follow(
            lambda snapshot: self.authority.update(lambda replica: replica.apply_snapshot(snapshot)),
            self._follow,
        )
        self.policies = PolicyAdministrator(self.store, self.authority)
        with self.store.transaction("test", "groups") as tx:
            for group in ("staff", "payers"):
                directory.create_group(tx, group)
        self.apply(self.files, first=True)
        for person in ("ada", "bob", "eve", "grace"):
            self.add(person)
        with self.store.transaction("test", "groups") as tx:
            directory.add_member(tx, "staff", "ada")
            directory.add_member(tx, "staff", "bob")
            directory.add_member(tx, "payers", "ada")
        assert self.parts.oauth is not None
        self.oauth = self.parts.oauth
        self.hear: Callable[[Any], object] = self.oauth.leash.hear

    def _secret(self, name: str) -> Secret[str]:
        if name not in self.secrets:
            raise NotFound(f"There is no secret {name}.")
        return Secret(self.secrets[name])

    def _follow(self, changes: Any) -> None:
        self.authority.update(lambda replica: replica.apply(changes))
        if hasattr(self, "hear"):
            self.hear(changes)

    def apply(self, files: Mapping[str, str], *, first: bool = False) -> None:
        """Put a bundle in force."""
        self.policies.apply(files, actor="test", reason="test", first=first)
        self.catalogue = self.authority.active().catalogue

    def round(self) -> None:
        """Do what control does after a change, and each half minute."""
        self.oauth.leash.sweep()
        self.oauth.backchannel.tell()

    def browse(self, person: str | None = None) -> Browser:
        """Return a browser in which somebody is signed in."""
        browser = self.browser()
        if person is not None:
            methods = ("password", "totp")
            proof = Proof(methods, assess_methods(methods), self.clock.now())
            with self.parts.sessions.ledger.entry(person, "sign in") as entry:
                token = self.parts.sessions.start(entry, person, proof, Visitor(browser.ip)).token
            browser.http.cookies.set(SESSION, token.reveal(), domain=f"auth.{DOMAIN}", path="/")
        return browser

    def session_of(self, person: str) -> str:
        """Return the id of a person's session."""
        return self.parts.sessions.list_live(person)[0][0].id

    # --- a client ----------------------------------------------------------------------------------

    def authorize(self, browser: Browser, **more: str) -> "Asked":
        """Send a browser to the authorization endpoint as the client `app` would."""
        verifier = secrets.token_urlsafe(32)
        query = {
            "client_id": "app",
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email groups",
            "state": "s1",
            "nonce": "n1",
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            **more,
        }
        query = {name: value for name, value in query.items() if value != "-"}
        response = browser.get(f"/oauth2/authorize?{urlencode(query)}")
        return Asked(self, browser, query, verifier, response)

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> httpx.Response:
        """Send a request as a program does."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"accept": "application/json", "x-limen-peer": "198.51.100.7", **names}
        return self.browser().http.post(path, data=dict(form), headers=sent)

    def token(self, form: Mapping[str, str], **headers: str) -> httpx.Response:
        """Ask for tokens."""
        return self.post("/oauth2/token", form, **headers)

    def tokens(self, browser: Browser, **more: str) -> dict[str, Any]:
        """Sign in to the client `app`, and return its tokens."""
        answer = self.authorize(browser, **more).redeem()
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refresh(self, token: str, **more: str) -> httpx.Response:
        """Use a refresh token."""
        form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app", **more}
        return self.token({name: value for name, value in form.items() if value != "-"})

    def read(self, token: str) -> jwt.Token:
        """Return a signed token, checked against the published keys as anybody would."""
        keys = KeySet.import_key_set(self.browser().http.get("/oauth2/jwks").json())
        return jwt.decode(token, keys, algorithms=["ES256", "RS256"])


class Asked:
    """What came of an authentication request."""

    def __init__(
        self,
        world: OauthWorld,
        browser: Browser,
        query: Mapping[str, str],
        verifier: str,
        response: httpx.Response,
    ) -> None:
        self.world = world
        self.browser = browser
        self.query = query
        self.verifier = verifier
        self.response = response

    @property
    def said(self) -> dict[str, str]:
        """What the client is told, in its redirect."""
        assert self.response.status_code == 303, self.response.text
        target = self.response.headers["location"]
        assert target.startswith(self.query["redirect_uri"].split("?")[0]), target
        return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}

    @property
    def leads_to(self) -> str:
        """The path of ours that the browser is sent to."""
        target = str(self.response.headers["location"])
        return urlsplit(target).path

    def redeem(self, *, headers: Mapping[str, str] | None = None, **more: str) -> httpx.Response:
        """Bring the code to the token endpoint."""
        form = {
            "grant_type": "authorization_code",
            "code": self.said["code"],
            "redirect_uri": self.query["redirect_uri"],
            "code_verifier": self.verifier,
            "client_id": self.query["client_id"],
            **more,
        }
        kept = {name: value for name, value in form.items() if value != "-"}
        return self.world.token(kept, **(headers or {}))


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def assertion(world: OauthWorld, key: ECKey | RSAKey | None = None, alg: str = "ES256", **claims: Any) -> str:
    """Return what the client `keyed` proves itself by."""
    now = int(world.clock.now())
    said = {
        "iss": "keyed", "sub": "keyed", "aud": AUTH, "jti": secrets.token_hex(8), "iat": now, "exp": now + 60,
        **claims,
    }  # fmt: skip
    return jwt.encode({"alg": alg}, said, key or world.client_key, algorithms=[alg])


def dpop_proof(
    world: OauthWorld, key: ECKey, method: str, url: str, *, token: str = "", jti: str = ""
) -> str:
    """Return a DPoP proof."""
    claims: dict[str, Any] = {
        "jti": jti or secrets.token_hex(8),
        "htm": method,
        "htu": url,
        "iat": int(world.clock.now()),
    }
    if token:
        claims["ath"] = challenge_of(token)
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": key.as_dict(private=False)}
    return jwt.encode(header, claims, key, algorithms=["ES256"])


def events(world: OauthWorld, kind: str) -> list[EventRecord]:
    """Return the events of a kind."""
    return [event for event in world.events if event.kind == kind]


@contextmanager
def oauth_world(folder: Path) -> Iterator[OauthWorld]:
    """Yield a world in which one RSA key does for all: making one takes a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        cheap_rsa(patch)
        world = OauthWorld(folder)
        yield world
        world.store.close()


def cheap_rsa(monkeypatch: Any) -> None:
    """Make one RSA key do for all: making one takes a tenth of a second."""
    make: Callable[[str], Any] = signing_keys._make_key
    monkeypatch.setattr(
        signing_keys,
        "_make_key",
        lambda alg: make(alg) if alg == "ES256" else (_rsa(), Secret(_rsa().as_pem(private=True).decode())),
    )


def _jwks(key: ECKey) -> str:
    import json

    return json.dumps({"keys": [{**key.as_dict(private=False), "kid": "k1"}]})
