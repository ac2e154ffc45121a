"""Past the gateway: straight to sample apps on loopback, with assertions that are forged, foreign or old.

The apps verify them as any app would (`services.demo.identity`); the last lock when somebody reaches a port.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from attack_rig import Person, Target, echoed
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("target")]

Header = dict[str, Any]
Make = Callable[["Keys", Header, Header], str]


class Keys:
    """The gateway's key as its owner has it, what the world knows of it, and a key of the attacker's."""

    def __init__(self, target: Target) -> None:
        pem = (target.demo.state_dir / "keys" / "assertion.pem").read_bytes()
        loaded = serialization.load_pem_private_key(pem, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self.real = loaded
        self.mine = ec.generate_private_key(ec.SECP256R1())
        reply = target.wire.ask("auth", "/.well-known/limen/jwks.json")
        self.jwk: dict[str, Any] = json.loads(reply.body)["keys"][0]
        self.kid = str(self.jwk["kid"])

    @property
    def public_pem(self) -> bytes:
        return self.real.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts(header: Header, claims: Header | list[Header]) -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def signed(key: ec.EllipticCurvePrivateKey, header: Header, claims: Header | list[Header]) -> str:
    """Return a JWS in compact form (RFC 7518 section 3.4)."""
    text = parts(header, claims)
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def hs256(secret: bytes, header: Header, claims: Header) -> str:
    text = parts({**header, "alg": "HS256"}, claims)
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def der_signed(keys: Keys, header: Header, claims: Header) -> str:
    text = parts(header, claims)
    return f"{text}.{b64(keys.real.sign(text.encode(), ec.ECDSA(hashes.SHA256())))}"


def own_jwk(keys: Keys) -> Header:
    numbers = keys.mine.public_key().public_numbers()
    point = {"x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}
    return {"kty": "EC", "crv": "P-256", **point}


def tampered(keys: Keys, header: Header, claims: Header) -> str:
    head, _, tail = signed(keys.real, header, claims).split(".")
    return f"{head}.{b64(json.dumps({**claims, 'sub': 'joan'}).encode())}.{tail}"


def without(claim: str) -> Make:
    return lambda keys, header, claims: signed(
        keys.real, header, {k: v for k, v in claims.items() if k != claim}
    )


def claiming(**other: Any) -> Make:
    """The true key, other claims. A number is an age in seconds from now."""

    def make(keys: Keys, header: Header, claims: Header) -> str:
        now = int(time.time())
        told = {name: now + value if isinstance(value, int) else value for name, value in other.items()}
        return signed(keys.real, header, {**claims, **told})

    return make


def unsigned(alg: str) -> Make:
    return lambda keys, header, claims: f"{parts({**header, 'alg': alg}, claims)}."


def mine(**header: Any) -> Make:
    """A key of the attacker's, under a header of the attacker's."""
    return lambda keys, given, claims: signed(keys.mine, {"alg": "ES256", **header}, claims)


FORGERIES: dict[str, Make] = {
    "no signature": unsigned("ES256"),
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg none, a true signature kept": lambda keys, header, claims: (
        unsigned("none")(keys, header, claims) + signed(keys.real, header, claims).split(".")[2]
    ),
    "HS256 with the public key as PEM": lambda keys, header, claims: hs256(keys.public_pem, header, claims),
    "HS256 with the public key as JWK": lambda keys, header, claims: hs256(
        json.dumps(keys.jwk).encode(), header, claims
    ),
    "HS256 with nothing": lambda keys, header, claims: hs256(b"", header, claims),
    "another key, this kid": lambda keys, header, claims: signed(keys.mine, header, claims),
    "another key, no kid": mine(),
    "another key, a kid that is a path": mine(kid="../../../dev/null"),
    "another key, its kid a list": mine(kid=["x"]),
    "another key by URL": mine(jku="https://evil.example/jwks.json", kid="evil"),
    "another key in the header": lambda keys, header, claims: signed(
        keys.mine, {**header, "jwk": own_jwk(keys)}, claims
    ),
    "another key in the header, no kid": lambda keys, header, claims: signed(
        keys.mine, {"alg": "ES256", "jwk": own_jwk(keys)}, claims
    ),
    "a critical extension nobody knows": lambda keys, header, claims: signed(
        keys.real, {**header, "crit": ["exp2"], "exp2": 1}, claims
    ),
    "a signature of zeros": lambda keys, header, claims: f"{parts(header, claims)}.{b64(bytes(64))}",
    "a signature in DER": der_signed,
    "other claims under a true signature": tampered,
    "no audience": without("aud"),
    "no expiry": without("exp"),
    "nobody": without("sub"),
    "another app's audience": claiming(aud="wiki"),
    "an audience that is almost ours": claiming(aud="tool "),
    "an audience of everything": claiming(aud="*"),
    "expired": claiming(exp=-10),
    "an expiry that is no number": claiming(exp="never"),
    "not yet valid": claiming(nbf=60),
    "not a token": lambda keys, header, claims: "let-me-in",
    "two dots": lambda keys, header, claims: "..",
    "a header that is a list": lambda keys, header, claims: f"{b64(b'[]')}.{b64(b'{}')}.{b64(bytes(64))}",
    "a kid that is a number": lambda keys, header, claims: signed(keys.real, {**header, "kid": 5}, claims),
    "claims that are a list": lambda keys, header, claims: signed(keys.real, header, [claims]),
    "five parts": lambda keys, header, claims: f"{signed(keys.real, header, claims)}.x.y",
}


@pytest.fixture(scope="module")
def keys(target: Target) -> Keys:
    return Keys(target)


def ask_directly(target: Target, app: str, assertion: str | None) -> int:
    """Ask a sample app on its own port, past the gateway."""
    content = yaml.safe_load(target.demo.admin.get("/v1/policy")["files"]["limen.yaml"])
    parts = urlsplit(content["apps"][app]["upstream"])
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", "/", headers={} if assertion is None else {"X-Limen-Assertion": assertion})
        return connection.getresponse().status
    finally:
        connection.close()


def claims_for(app: str) -> Header:
    now = int(time.time())
    times = {"iat": now, "nbf": now - 5, "exp": now + 60}
    return {"iss": "https://auth.limen.localhost", "sub": "ada", "aud": app, "amr": ["passkey"], **times}


@pytest.mark.parametrize("app", ["tool", "payroll"])
def test_an_app_reached_directly_opens_to_a_true_assertion_and_to_nothing_less(
    target: Target, keys: Keys, app: str
) -> None:
    header = {"alg": "ES256", "typ": "JWT", "kid": keys.kid}
    assert ask_directly(target, app, signed(keys.real, header, claims_for(app))) == 200, (
        "the key is the true one"
    )
    assert ask_directly(target, app, None) == 401


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_assertion_opens_no_app(target: Target, keys: Keys, how: str) -> None:
    header = {"alg": "ES256", "typ": "JWT", "kid": keys.kid}
    for app in ("tool", "payroll"):
        assert ask_directly(target, app, FORGERIES[how](keys, header, claims_for(app))) == 401, (
            "refused, not broken"
        )


def test_a_true_assertion_of_another_app_opens_no_app(target: Target) -> None:
    """Whoever runs one app is handed assertions of its visitors, and could carry them to the next."""
    person = Person.enrolled(target.demo, "staff", "engineers", "hr")
    seen = echoed(target.wire.ask("vault", cookie=person.open("vault"))).all("x-limen-assertion")
    assert len(seen) == 1
    assert [ask_directly(target, app, seen[0]) for app in ("tool", "payroll")] == [401, 401]


def test_the_published_keys_are_public(keys: Keys) -> None:
    assert set(keys.jwk) <= {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_a_forged_assertion_through_the_gateway_is_replaced_by_the_true_one(
    target: Target, keys: Keys
) -> None:
    person = Person.enrolled(target.demo, "staff")
    forged = signed(keys.real, {"alg": "ES256", "kid": keys.kid}, {**claims_for("vault"), "sub": "joan"})
    seen = echoed(target.wire.ask("vault", "/", ("X-Limen-Assertion", forged), cookie=person.open("vault")))
    told = seen.all("x-limen-assertion")
    assert len(told) == 1
    payload = told[0].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"] == person.username
