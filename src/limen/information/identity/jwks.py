"""Somebody else's public keys: fetched, kept, and fetched again when they rotate.

Laws:
    Q1 asymmetric only. `none` and HMAC are never believed, whatever a header or a key says.
    Q2 one key per name. What is signed names its key, or there is one; no set names a key twice.
    Q3 bounded. A key that is not known makes one fetch, and then none for `REFETCH_AFTER_S`: rubbish costs
       the provider nothing.
"""

import base64
import binascii
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from limen.core.errors import LimenError, Unavailable
from limen.core.ids import Instant

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
KEYS_S = 3600.0  # keys are read again after this
STALE_S = 86_400.0  # keys of a provider that does not answer are believed this long
REFETCH_AFTER_S = 60.0
KEYS_MAX = 64
TOKEN_LENGTH_MAX = 1_000_000  # characters; group claims are long


class TokenInvalid(LimenError):
    """A signed token does not hold. `message` says why, for the operator, and has nothing of the token."""

    code = "TOKEN_INVALID"


class KeyRing:
    """The keys of one issuer.

    Args:
        fetch: returns its JWK Set; raises `Unavailable`. Static keys: `lambda: document`.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]]) -> None:
        self._fetch = fetch
        self._keys: KeySet | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def verify(
        self, token: str, now: Instant, *, algorithms: Sequence[str] = ALGORITHMS, types: Sequence[str] = ()
    ) -> jwt.Token:
        """Return a token whose signature is the issuer's. Its claims are still to be looked at.

        Args:
            token: compact JWS.
            now: for the age of the keys.
            algorithms: those that count, of `ALGORITHMS`.
            types: values of `typ` that count, lower case; empty for any.

        Raises:
            TokenInvalid: it is not.
            Unavailable: the issuer's keys cannot be had.
        """
        header = read_header(token)
        if header.get("alg") not in algorithms or header.get("alg") not in ALGORITHMS:
            raise TokenInvalid("it is signed with an algorithm that is not accepted")
        if types and str(header.get("typ", "")).lower().removeprefix("application/") not in types:
            raise TokenInvalid("it is a token of another kind")
        if "crit" in header:
            raise TokenInvalid("its header demands what is not known here")
        kid = header.get("kid")
        keys = self._known(kid, now)
        try:
            return jwt.decode(token, keys, algorithms=list(algorithms))
        except (JoseError, ValueError, RecursionError) as error:
            if kid is None and self._may_fetch(now, REFETCH_AFTER_S):
                return self._again(token, now, algorithms)
            raise TokenInvalid("its signature does not hold") from error

    def _again(self, token: str, now: Instant, algorithms: Sequence[str]) -> jwt.Token:
        try:
            return jwt.decode(token, self._load(now), algorithms=list(algorithms))
        except (JoseError, ValueError, RecursionError) as error:
            raise TokenInvalid("its signature does not hold") from error

    def _known(self, kid: object, now: Instant) -> KeySet:
        """Return the keys, fetched again when they are old or lack this one."""
        keys = self._keys
        lacks = keys is None or (kid is not None and all(key.kid != kid for key in keys.keys))
        old = now - self._fetched_at >= KEYS_S
        if (lacks or old) and self._may_fetch(now, REFETCH_AFTER_S if keys is not None else 0.0):
            try:
                return self._load(now)
            except Unavailable:
                if keys is None or now - self._fetched_at >= STALE_S:
                    raise
        if keys is None or now - self._fetched_at >= STALE_S:
            raise Unavailable(
                "The keys of the issuer cannot be had.",
                remedy="Try again in a minute.",
                code="KEYS_UNAVAILABLE",
            )
        if lacks:
            raise TokenInvalid("it names a key that its issuer does not have")
        return keys

    def _may_fetch(self, now: Instant, after_s: float) -> bool:
        with self._lock:
            if abs(now - self._tried_at) < after_s:
                return False
            self._tried_at = now
            return True

    def _load(self, now: Instant) -> KeySet:
        keys = parse_keys(self._fetch())
        self._keys, self._fetched_at = keys, now
        return keys


def parse_keys(document: Mapping[str, Any]) -> KeySet:
    """Return the public, asymmetric signing keys of a JWK Set. What is of no use here is left out.

    Raises:
        Unavailable: it is no JWK Set, has none, too many, or two of one name.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise _unusable("is no list of keys, or too long")
    kept: list[dict[str, Any]] = []
    for one in listed:
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if one.get("use", "sig") != "sig" or "d" in one:
            continue
        kept.append({name: value for name, value in one.items() if name not in ("x5c", "x5u")})
    names = [one["kid"] for one in kept if "kid" in one]
    if len(set(map(str, names))) != len(names):
        raise _unusable("names one key twice")
    found = []
    for one in kept:
        try:
            found += KeySet.import_key_set({"keys": [one]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # a curve or a form that is not known here: other keys may do
    if not found:
        raise _unusable("has no key that can be used")
    return KeySet(found)


def read_header(token: str) -> Mapping[str, Any]:
    """Return the header of a compact JWS, of which nothing is proven yet.

    Raises:
        TokenInvalid: it is none.
    """
    if not isinstance(token, str) or len(token) > TOKEN_LENGTH_MAX or token.count(".") != 2:
        raise TokenInvalid("it is not a signed token")
    first = token.partition(".")[0]
    try:
        raw = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise TokenInvalid("its header cannot be read") from error


def demand(
    claims: Mapping[str, Any],
    *,
    issuer: str,
    audience: str,
    now: Instant,
    leeway_s: float = 60.0,
    life_max_s: float | None = None,
) -> None:
    """Check `iss`, `aud`, `exp`, `nbf`, `iat` of verified claims (RFC 7519 4.1); only `nbf` may lack.

    Args:
        claims: of a token whose signature holds.
        issuer, audience: what they must be; `aud` may be a list that has it.
        now: wall clock.
        leeway_s: how far apart two organisations' clocks may be.
        life_max_s: refuse what was made to live longer.

    Raises:
        TokenInvalid: one does not hold.
    """
    aud = claims.get("aud")
    listed = [aud] if isinstance(aud, str) else aud if isinstance(aud, list) else []
    if claims.get("iss") != issuer:
        raise TokenInvalid("it is from another issuer")
    if audience not in listed:
        raise TokenInvalid("it is for another audience")
    expires_at, issued_at = _instant(claims, "exp"), _instant(claims, "iat")
    if expires_at is None or not now - leeway_s < expires_at:
        raise TokenInvalid("it has expired")
    if issued_at is None or issued_at > now + leeway_s:
        raise TokenInvalid("it is from the future")
    starts_at = _instant(claims, "nbf") if "nbf" in claims else 0.0
    if starts_at is None or starts_at > now + leeway_s:
        raise TokenInvalid("it is not good yet")
    if life_max_s is not None and expires_at - issued_at > life_max_s:
        raise TokenInvalid("it lives too long")


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return float(value) if good and isinstance(value, int | float) else None


def _unusable(why: str) -> Unavailable:
    return Unavailable(
        f"The issuer's key set {why}.",
        remedy="Ask its operator to look at `jwks_uri`.",
        code="KEYS_UNAVAILABLE",
    )
