"""Somebody else's public keys: fetched, kept, and fetched again when they rotate.

Laws:
    Q1 asymmetric only. `none` and HMAC are never believed, whatever a header or a key says.
    Q2 one key per name. What is signed names its key, or there is one; no set names a key twice.
    Q3 bounded. A key that is not known, or a signature that does not hold, makes one fetch, and then none for
       `REFETCH_AFTER_S`: rubbish costs the provider nothing.
    Q4 the newest set wins. Of fetches that overlap, an answer that was asked for earlier never replaces one
       that was asked for later: a slow answer does not bring a withdrawn key back.
    Q5 a key signs by its own algorithm. Where it names one, no other counts; RSA keys have 2048 bits or more.
"""

import binascii
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, RSAKey

from limen.core import base64url
from limen.core.errors import LimenError, Unavailable
from limen.core.ids import Instant

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
KEYS_S = 3600.0  # keys are read again after this
STALE_S = 86_400.0  # keys of a provider that does not answer are believed this long
REFETCH_AFTER_S = 60.0
DOWN_S = 5.0  # a provider whose keys could not be had is not asked again at once
WAIT_S = 3.0  # how long one thread waits for the fetch of another
RSA_BITS_MIN = 2048  # RFC 7518 section 3.3
KEYS_MAX = 64
TOKEN_LENGTH_MAX = 1_000_000  # characters; group claims are long
_UNKNOWN_KEY = "it names a key that its issuer does not have"


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
        self._tried: dict[str, Instant] = {}
        self._asked = 0
        self._answered = 0
        self._under_way = 0
        self._lock = threading.Condition()

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
            return _decode(token, keys, header, algorithms)
        except TokenInvalid:  # perhaps a new key under no name, or under an old one
            if self._may_fetch("unknown", now, REFETCH_AFTER_S):
                return _decode(token, self._load(now), header, algorithms)
            raise

    def _known(self, kid: object, now: Instant) -> KeySet:
        """Return the keys, fetched again when they are old or lack this one."""
        keys = self._keys
        if keys is not None and abs(now - self._fetched_at) < KEYS_S:
            return keys if _has(keys, kid) else self._refetched(kid, now)
        why, after_s = ("none", DOWN_S) if keys is None else ("old", REFETCH_AFTER_S)
        if self._may_fetch(why, now, after_s):
            try:
                keys = self._load(now)
                self._tried.pop(why, None)
            except Unavailable:
                if keys is None or now - self._fetched_at >= STALE_S:
                    raise
        elif keys is None and self._wait():  # another thread was there first
            keys = self._keys
        if keys is None or now - self._fetched_at >= STALE_S:
            raise _away()
        if not _has(keys, kid):
            raise TokenInvalid(_UNKNOWN_KEY)
        return keys

    def _refetched(self, kid: object, now: Instant) -> KeySet:
        """Return a newer set that has the key, for keys rotate; of threads that come at once one asks."""
        if self._may_fetch("unknown", now, REFETCH_AFTER_S):
            try:
                keys: KeySet | None = self._load(now)
            except Unavailable:
                keys = self._keys
        else:
            self._wait()
            keys = self._keys
        if keys is None or not _has(keys, kid):
            raise TokenInvalid(_UNKNOWN_KEY)
        return keys

    def _wait(self) -> bool:
        """Wait for fetches under way; return whether they came to their end."""
        with self._lock:
            return self._lock.wait_for(lambda: self._under_way == 0, WAIT_S)

    def _may_fetch(self, why: str, now: Instant, after_s: float) -> bool:
        with self._lock:
            if abs(now - self._tried.get(why, float("-inf"))) < after_s:
                return False
            self._tried[why] = now
            self._under_way += 1  # from here on others wait for it: `_load` takes it back
            return True

    def _load(self, now: Instant) -> KeySet:
        with self._lock:
            self._asked += 1
            asked = self._asked
        try:
            found = parse_keys(self._fetch())
        except BaseException:
            self._landed(None, asked, now)
            raise
        return self._landed(found, asked, now)

    def _landed(self, found: KeySet | None, asked: int, now: Instant) -> KeySet:
        with self._lock:
            self._under_way = max(0, self._under_way - 1)
            if found is not None and (asked > self._answered or self._keys is None):  # law Q4
                self._answered, self._keys, self._fetched_at = asked, found, now
            self._lock.notify_all()
            return self._keys if self._keys is not None else KeySet([])


def _decode(token: str, keys: KeySet, header: Mapping[str, Any], algorithms: Sequence[str]) -> jwt.Token:
    """Verify a signature (laws Q1, Q2, Q5)."""
    only = keys.keys[0] if header.get("kid") is None and len(keys.keys) == 1 else None
    if only is not None and only.alg not in (None, header.get("alg")):
        raise TokenInvalid("its key is for another algorithm")
    try:
        return jwt.decode(token, keys, algorithms=list(algorithms))
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenInvalid("its signature does not hold") from error


def _has(keys: KeySet, kid: object) -> bool:
    return kid is None or any(key.kid == kid for key in keys.keys)


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
    found = [key for key in found if not _is_weak(key)]
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
        raw = base64url.decode(first)
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
    expires_at, issued_at = read_instant(claims, "exp"), read_instant(claims, "iat")
    if expires_at is None or not now - leeway_s < expires_at:
        raise TokenInvalid("it has expired")
    if issued_at is None or issued_at > now + leeway_s:
        raise TokenInvalid("it is from the future")
    starts_at = read_instant(claims, "nbf") if "nbf" in claims else 0.0
    if starts_at is None or starts_at > now + leeway_s:
        raise TokenInvalid("it is not good yet")
    if life_max_s is not None and expires_at - issued_at > life_max_s:
        raise TokenInvalid("it lives too long")


def read_instant(claims: Mapping[str, Any], name: str) -> Instant | None:
    """Return a NumericDate (RFC 7519 section 2), or None where there is none that can be one."""
    value = claims.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return float(value) if good and isinstance(value, int | float) else None


def _is_weak(key: Key) -> bool:
    if not isinstance(key, RSAKey):
        return False
    modulus = str(key.as_dict(private=False)["n"])
    raw = base64url.decode(modulus)
    return int.from_bytes(raw).bit_length() < RSA_BITS_MIN


def _away() -> Unavailable:
    return Unavailable(
        "The keys of the issuer cannot be had.", remedy="Try again in a minute.", code="KEYS_UNAVAILABLE"
    )


def _unusable(why: str) -> Unavailable:
    return Unavailable(
        f"The issuer's key set {why}.",
        remedy="Ask its operator to look at `jwks_uri`.",
        code="KEYS_UNAVAILABLE",
    )
