"""JWKS poisoning, rotation races, none and key confusion (laws Q1 to Q5 of `jwks`)."""

import base64
import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from limen.core.errors import Unavailable
from limen.information.identity.jwks import (
    KEYS_S,
    REFETCH_AFTER_S,
    STALE_S,
    KeyRing,
    TokenInvalid,
    parse_keys,
)

KEY = RSAKey.generate_key(2048, {"kid": "k1"})
OTHER = RSAKey.generate_key(2048, {"kid": "k2"})
CURVE = ECKey.generate_key("P-256", {"kid": "e1"})


class Issuer:
    """A key set that changes, fails and is counted."""

    def __init__(self, *keys: Any) -> None:
        self.keys: list[Any] = [key.as_dict(private=False) for key in keys]
        self.asked = 0
        self.down = False

    def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.down:
            raise Unavailable("away")
        return {"keys": list(self.keys)}

    def rotate(self, *keys: Any) -> None:
        self.keys = [key.as_dict(private=False) for key in keys]


def _sign(key: Any, alg: str = "RS256", **header: Any) -> str:
    return jwt.encode({"alg": alg, **header}, {"sub": "s"}, key, algorithms=[alg])


def _part(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "HS512", "RS1", "", None, 7, ["RS256"]])
def test_q1_only_asymmetric_algorithms_count(alg: object) -> None:
    body = _part({"sub": "s"})
    for signature in ("", "AAAA"):
        with pytest.raises(TokenInvalid):
            KeyRing(Issuer(KEY)).verify(f"{_part({'alg': alg, 'kid': 'k1'})}.{body}.{signature}", 0.0)


def test_q1_a_public_key_is_no_shared_secret() -> None:
    pem = KEY.as_pem(private=False)
    for raw in (pem, pem.strip(), json.dumps(KEY.as_dict(private=False)).encode()):
        head, body = _part({"alg": "HS256", "kid": "k1"}), _part({"sub": "s"})
        made = OctKey.import_key(raw.replace(b"-----", b"_____"))  # joserfc itself would not take a PEM
        token = jwt.encode({"alg": "HS256", "kid": "k1"}, {"sub": "s"}, made, algorithms=["HS256"])
        with pytest.raises(TokenInvalid):
            KeyRing(Issuer(KEY)).verify(token, 0.0)
        with pytest.raises(TokenInvalid):
            KeyRing(Issuer(KEY)).verify(f"{head}.{body}.{token.rpartition('.')[2]}", 0.0)


def test_q1_a_shared_secret_in_the_key_set_is_no_key() -> None:
    issuer = Issuer(KEY)
    issuer.keys.append({"kty": "oct", "kid": "o1", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"})
    token = _sign(OctKey.import_key("secret-secret-secret-secret"), "HS256", kid="o1")
    with pytest.raises(TokenInvalid):
        KeyRing(issuer).verify(token, 0.0)


@pytest.mark.parametrize(
    "more",
    [
        {"jwk": OTHER.as_dict(private=False)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/x5"},
        {"x5c": ["MIIB"]},
    ],
)
def test_a_token_does_not_bring_its_own_key(more: dict[str, Any]) -> None:
    issuer = Issuer(KEY)
    with pytest.raises(TokenInvalid):
        KeyRing(issuer).verify(_sign(OTHER, kid="k1", **more), 0.0)
    with pytest.raises(TokenInvalid):
        KeyRing(issuer).verify(_sign(OTHER, kid="k2", **more), 0.0)


def test_a_header_that_demands_what_is_not_known_is_refused() -> None:
    head = _part({"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": False})
    with pytest.raises(TokenInvalid):
        KeyRing(Issuer(KEY)).verify(f"{head}.{_part({'sub': 's'})}.AAAA", 0.0)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "e30.e30.", "x" * 1_000_001, _part({"alg": "RS256"}) + ".."],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        KeyRing(Issuer(KEY)).verify(token, 0.0)


@pytest.mark.parametrize("kid", [7, ["k1"], {"k": 1}, True, "", "k1\0", "../k1"])
def test_a_kid_is_a_name_and_nothing_else(kid: object) -> None:
    head = _part({"alg": "RS256", "kid": kid})
    _, body, signature = _sign(KEY, kid="k1").split(".")
    with pytest.raises(TokenInvalid):
        KeyRing(Issuer(KEY, OTHER)).verify(f"{head}.{body}.{signature}", 0.0)


def test_q2_a_set_that_names_a_key_twice_is_no_set() -> None:
    twin = {**OTHER.as_dict(private=False), "kid": "k1"}
    with pytest.raises(Unavailable):
        parse_keys({"keys": [KEY.as_dict(private=False), twin]})


def test_q2_of_several_keys_a_token_names_one() -> None:
    with pytest.raises(TokenInvalid):
        KeyRing(Issuer(KEY, OTHER)).verify(_sign(KEY), 0.0)
    assert KeyRing(Issuer(KEY)).verify(_sign(KEY), 0.0).claims == {"sub": "s"}


def test_a_poisoned_set_has_only_what_can_be_used() -> None:
    private = KEY.as_dict(private=True)
    weak = {"kty": "RSA", "kid": "w", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 64).decode()}
    odd = [7, "x", None, {}, {"kty": "EC", "kid": "?"}, {"kty": "oct", "k": "AA"}, weak, private]
    enc = {**OTHER.as_dict(private=False), "use": "enc"}
    kept = parse_keys({"keys": [*odd, enc, CURVE.as_dict(private=False)]})
    assert [key.kid for key in kept.keys] == ["e1"]
    for document in ({}, {"keys": {}}, {"keys": []}, {"keys": odd}, {"keys": [{}] * 65}):
        with pytest.raises(Unavailable):
            parse_keys(document)


def test_q3_rubbish_costs_the_provider_nothing() -> None:
    issuer = Issuer(KEY)
    ring = KeyRing(issuer)
    ring.verify(_sign(KEY, kid="k1"), 0.0)
    for n in range(50):
        with pytest.raises(TokenInvalid):
            ring.verify(_sign(KEY, kid=f"x{n}"), 1.0)
    assert issuer.asked == 2
    with pytest.raises(TokenInvalid):
        ring.verify(_sign(OTHER, kid="k1"), REFETCH_AFTER_S + 1.0)
    assert issuer.asked == 3


def test_a_rotation_is_seen_at_once_and_a_withdrawn_key_within_an_hour() -> None:
    issuer = Issuer(KEY)
    ring = KeyRing(issuer)
    ring.verify(_sign(KEY, kid="k1"), 0.0)
    issuer.rotate(KEY, OTHER)
    ring.verify(_sign(OTHER, kid="k2"), 5.0)
    issuer.rotate(OTHER)
    ring.verify(_sign(KEY, kid="k1"), 10.0)
    with pytest.raises(TokenInvalid):
        ring.verify(_sign(KEY, kid="k1"), 10.0 + KEYS_S)


def test_a_provider_that_is_away_is_believed_a_day_and_no_longer() -> None:
    issuer = Issuer(KEY)
    ring = KeyRing(issuer)
    token = _sign(KEY, kid="k1")
    ring.verify(token, 0.0)
    issuer.down = True
    ring.verify(token, KEYS_S + 1.0)
    with pytest.raises(Unavailable):
        ring.verify(token, STALE_S + 1.0)
    issuer.down = False
    ring.verify(token, STALE_S + 1.0 + REFETCH_AFTER_S)


def test_a_set_that_turns_bad_does_not_replace_a_good_one() -> None:
    issuer = Issuer(KEY)
    ring = KeyRing(issuer)
    ring.verify(_sign(KEY, kid="k1"), 0.0)
    issuer.keys = [{"kty": "oct", "k": "AA"}]
    with pytest.raises(TokenInvalid):
        ring.verify(_sign(OTHER, kid="k2"), 1.0)
    assert ring.verify(_sign(KEY, kid="k1"), 2.0).claims == {"sub": "s"}


def test_q4_a_slow_answer_does_not_bring_a_withdrawn_key_back() -> None:
    late, go = threading.Event(), threading.Event()
    sets = [{"keys": [KEY.as_dict(private=False)]}, {"keys": [OTHER.as_dict(private=False)]}]

    def fetch() -> Mapping[str, Any]:
        mine = sets.pop(0) if len(sets) > 1 else sets[0]
        if not late.is_set():  # the first to ask is the last to hear
            late.set()
            assert go.wait(10)
        return mine

    ring = KeyRing(fetch)
    first = threading.Thread(target=lambda: ring._load(0.0))
    first.start()
    assert late.wait(10)
    ring._load(1.0)
    go.set()
    first.join()
    assert ring.verify(_sign(OTHER, kid="k2"), 2.0).claims == {"sub": "s"}
    with pytest.raises(TokenInvalid):
        ring.verify(_sign(KEY, kid="k1"), 2.0 - 1.0)


def test_of_many_that_meet_a_rotation_one_asks_and_all_get_in() -> None:
    issuer = Issuer(KEY)
    ring = KeyRing(issuer)
    ring.verify(_sign(KEY, kid="k1"), 0.0)
    issuer.rotate(OTHER)
    token, came = _sign(OTHER, kid="k2"), []

    def come() -> None:
        came.append(ring.verify(token, 1.0).claims["sub"])

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == ["s"] * 8
    assert issuer.asked == 2


def test_q5_a_key_signs_by_its_own_algorithm() -> None:
    pinned = {**KEY.as_dict(private=False), "alg": "PS256"}
    issuer = Issuer()
    issuer.keys = [pinned]
    for header in ({"kid": "k1"}, {}):
        with pytest.raises(TokenInvalid):
            KeyRing(issuer).verify(_sign(KEY, "RS256", **header), 0.0)
        KeyRing(issuer).verify(_sign(KEY, "PS256", **header), 0.0)
    with pytest.raises(TokenInvalid):
        KeyRing(Issuer(CURVE)).verify(_sign(KEY, kid="e1"), 0.0)


def test_a_token_of_another_kind_is_refused() -> None:
    ring = KeyRing(Issuer(KEY))
    for typ in ("at+jwt", "application/at+jwt", "dpop+jwt", 7):
        head = _part({"alg": "RS256", "kid": "k1", "typ": typ})
        with pytest.raises(TokenInvalid):
            ring.verify(f"{head}.e30.AAAA", 0.0, types=("", "jwt"))
    assert ring.verify(_sign(KEY, kid="k1", typ="JWT"), 0.0, types=("", "jwt")).claims == {"sub": "s"}
