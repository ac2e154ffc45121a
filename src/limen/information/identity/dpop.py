"""Proofs of possession: a token that only the holder of a key can use (DPoP).

Laws:
    P1 of this request. A proof is for one method, one address and, where a token comes with it, that token.
    P2 once. A proof is taken once, within `AGE_MAX_S` of its making.
    P3 a key that nobody shares. The key is asymmetric, of a usable size, and comes without its private half.

Source: RFC 9449 sections 4.2, 4.3, 7.1, 11.1.
"""

import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from limen.core import base64url
from limen.core.ids import Instant
from limen.information.identity.client_assertion import Spend
from limen.information.identity.jwks import TokenInvalid, read_header, read_instant

ALGORITHMS = ("ES256", "ES384", "EdDSA", "PS256", "RS256")
"""What proofs may be signed with; for `dpop_signing_alg_values_supported` and challenges."""

AGE_MAX_S = 60.0  # a proof is made for a request that follows at once
LEEWAY_S = 5.0  # how far ahead of ours the client's clock may be
PROOF_LENGTH_MAX = 4_096  # characters: an RSA key of 4,096 bits and its signature fit
RSA_MIN_BITS = 2_048
RSA_MAX_BITS = 4_096  # larger ones cost us more than them

_registry = JWSRegistry(algorithms=list(ALGORITHMS))
_registry.max_header_length = PROOF_LENGTH_MAX  # joserfc's own 512 bytes hold no RSA key

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KEYS: Mapping[str, tuple[type[ECKey | RSAKey | OKPKey], frozenset[str]]] = {
    "EC": (ECKey, frozenset({"crv", "x", "y"})),
    "RSA": (RSAKey, frozenset({"n", "e"})),
    "OKP": (OKPKey, frozenset({"crv", "x"})),
}


def verify_proof(
    proof: str, method: str, url: str, *, now: Instant, spend: Spend, access_token: str | None = None
) -> str:
    """Return the thumbprint of the key that a proof shows (RFC 7638, SHA-256, base64url).

    Whoever calls compares it with the one that the token is bound to.

    Args:
        proof: the one `DPoP` header.
        method, url: of the request that it came with; a query is not looked at.
        now: wall clock.
        spend: remembers what was used; called last, once all else holds.
        access_token: the token that came with it; None at the token endpoint.

    Raises:
        TokenInvalid: it proves nothing.
    """
    if len(proof) > PROOF_LENGTH_MAX:
        raise TokenInvalid("the proof is too long, or there are several")
    header = read_header(proof)
    if str(header.get("typ", "")).lower() != "dpop+jwt":
        raise TokenInvalid("it is no proof")
    if header.get("alg") not in ALGORITHMS or "crit" in header:
        raise TokenInvalid("the proof is signed with an algorithm that is not accepted")
    key = _public_key(header.get("jwk"))
    try:
        claims = jwt.decode(proof, key, [str(header["alg"])], _registry).claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise TokenInvalid("the proof's signature does not hold") from error
    if claims.get("htm") != method or not is_same_address(claims.get("htu"), url):
        raise TokenInvalid("the proof is for another request")
    made_at = read_instant(claims, "iat")
    if made_at is None or not now - AGE_MAX_S <= made_at <= now + LEEWAY_S:
        raise TokenInvalid("the proof is too old, or of a clock that is ahead")
    if access_token is not None and not _is_hash_of(claims.get("ath"), access_token):
        raise TokenInvalid("the proof is for another token")
    thumbprint = key.thumbprint()
    jti = claims.get("jti")
    if not isinstance(jti, str) or not spend(f"dpop:{thumbprint}", jti, made_at + AGE_MAX_S + LEEWAY_S):
        raise TokenInvalid("the proof was used before, or has no `jti`")
    return thumbprint


def is_same_address(claimed: object, url: str) -> bool:
    """Say whether two addresses are one, but for query and fragment (RFC 9449 section 4.3 check 9).

    Scheme and host ignore case and a port that is the scheme's own (RFC 3986 sections 6.2.2, 6.2.3); a path
    is compared as it stands, so that nothing is read in two ways.
    """
    if not isinstance(claimed, str):
        return False
    try:
        return _parts(claimed) == _parts(url)
    except ValueError:
        return False


def _parts(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or not parts.hostname:
        raise ValueError("not an address of a request")
    own = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname.lower(), parts.port or own, parts.path or "/"


def _public_key(jwk: object) -> ECKey | RSAKey | OKPKey:
    if not isinstance(jwk, dict) or not _PRIVATE.isdisjoint(jwk):
        raise TokenInvalid("the proof has no public key, or a private one")
    known = _KEYS.get(str(jwk.get("kty")))
    if known is None:
        raise TokenInvalid("the proof's key is of a kind that is not accepted")
    kind, members = known
    try:
        # Only what makes the key: `use`, `alg` or `key_ops` of a stranger change nothing here.
        key = kind.import_key({"kty": jwk["kty"]} | {name: jwk[name] for name in members})
        size = key.raw_value.key_size if isinstance(key, RSAKey) else RSA_MIN_BITS
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise TokenInvalid("the proof's key cannot be read") from error
    if not RSA_MIN_BITS <= size <= RSA_MAX_BITS:
        raise TokenInvalid("the proof's key is too small, or too large")
    return key


def _is_hash_of(claimed: object, token: str) -> bool:
    return isinstance(claimed, str) and hmac.compare_digest(claimed.encode(), hash_of(token).encode())


def hash_of(token: str) -> str:
    """Return the `ath` of an access token."""
    return base64url.sha256(token)


def confirmation(jkt: str) -> Mapping[str, Any]:
    """Return the `cnf` of a token that is bound to a key (RFC 9449 section 6.1)."""
    return {"jkt": jkt}
