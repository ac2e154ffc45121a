"""How a careful app learns who it is: it verifies `X-Limen-Assertion`, and believes nothing else."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

HEADER = "x-limen-assertion"
NOT_VOUCHED_FOR = "This app answers only requests that the gateway vouches for."
LEEWAY_S = 5  # between the clocks of gateway and app

FetchKeys = Callable[[], Mapping[str, Any]]
"""Returns the JSON Web Key Set of all gateways."""


class Visitor(msgspec.Struct, frozen=True):
    """Who an assertion speaks of. `methods` are those of the sign-in (`amr`, RFC 8176)."""

    username: str
    name: str = ""
    methods: tuple[str, ...] = ()


class Verifier:
    """Verifies assertions made for one app. Keys are fetched when first needed, and when one is unknown."""

    def __init__(self, audience: str, fetch_keys: FetchKeys) -> None:
        self._fetch_keys = fetch_keys
        self._keys: KeySet | None = None
        self._lock = threading.Lock()
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def verify_visitor(self, headers: Mapping[str, str]) -> Visitor | None:
        """Return who came, or None when the assertion is missing, forged, too old or for another app."""
        token = headers.get(HEADER, "")
        if not token:
            return None
        claims = self._claims_of(token, fresh=False) or self._claims_of(token, fresh=True)
        if claims is None:
            return None
        return Visitor(str(claims["sub"]), str(claims.get("name", "")), tuple(claims.get("amr", ())))

    def _claims_of(self, token: str, *, fresh: bool) -> Mapping[str, Any] | None:
        try:
            read = jwt.decode(token, self._key_set(fresh=fresh), algorithms=["ES256"])
            self._claims.validate(read.claims)
        except (JoseError, ValueError):
            return None
        return read.claims

    def _key_set(self, *, fresh: bool) -> KeySet:
        with self._lock:
            if self._keys is None or fresh:
                self._keys = KeySet.import_key_set(self._fetch_keys())  # type: ignore[arg-type]
            return self._keys
