"""Keys by which Limen signs for others: tokens, logout tokens, its own assertions at providers.

Laws:
    K1 published first. A successor is in the key set for `PUBLISHED_BEFORE_S` before it signs, so that who
       keeps key sets for a day knows it. Only the first key of an algorithm signs at once.
    K2 kept after. A key that signs no more stays published for `KEPT_S`, longer than anything it signed.
    K3 one signs. At each instant one key of an algorithm signs, on all control nodes the same.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from limen.administrator.ledger import Entry, Ledger
from limen.core.clock import Clock
from limen.core.errors import Invalid
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.information.identity.jwks import TokenInvalid, read_header
from limen.store import signing_keys as rows
from limen.store.sealing import Sealer
from limen.store.signing_keys import SigningKeyRow

PUBLISHED_BEFORE_S = 86_400.0
KEPT_S = 7 * 86_400.0
ROTATE_S = 90 * 86_400.0
RSA_BITS = 2048  # NIST SP 800-131A: good through 2030; a key here lives a quarter

SIGNING_ALGORITHMS = ("RS256", "PS256", "ES256")
DEFAULT_ALGORITHM = "RS256"  # OIDC Core 15.1: every client can verify it

AnyKey = RSAKey | ECKey


class SigningKeys:
    """Signs, publishes, rotates. Threads may share it; several control nodes share its table.

    Nothing here may be called inside a transaction: the first key of an algorithm is made in one.

    Args:
        ledger: whose database has the keys.
        clock: wall time.
        sealer: of the private halves; purpose `credentials`.
        use: keys of one use never sign for another.
    """

    def __init__(self, ledger: Ledger, clock: Clock, sealer: Sealer, *, use: str = "oauth") -> None:
        self._ledger = ledger
        self._clock = clock
        self._sealer = sealer
        self._use = use
        self._opened: dict[str, AnyKey] = {}
        self._making = threading.Lock()

    def sign(self, claims: Mapping[str, Any], *, typ: str, alg: str = DEFAULT_ALGORITHM) -> str:
        """Return a compact JWS of `claims`.

        Raises:
            Invalid: `alg` is none of `SIGNING_ALGORITHMS`.
            Unavailable: the database does not answer.
        """
        row = self._signing(alg)
        header = {"alg": alg, "kid": row.kid, "typ": typ}
        return jwt.encode(header, dict(claims), self._open(row), algorithms=[alg])

    def ready(self, alg: str) -> None:
        """See that there is a key of `alg`. Raises as `sign`."""
        self._open(self._signing(alg))

    def verify(self, token: str, *, typ: str) -> Mapping[str, Any]:
        """Return the claims of a token that a published key signed; of them nothing is checked.

        Args:
            token: compact JWS, from anybody.
            typ: what its header must say that it is, so that no token passes for another kind.

        Raises:
            TokenInvalid: it is none of ours.
        """
        header = read_header(token)
        now = self._clock.now()
        row = next((r for r in self.known() if r.kid == header.get("kid") and is_published(r, now)), None)
        if row is None or header.get("alg") != row.alg or str(header.get("typ", "")).lower() != typ.lower():
            raise TokenInvalid("it is signed by none of our keys, or for something else")
        try:
            return jwt.decode(token, _read_public(row), algorithms=[row.alg]).claims
        except (JoseError, ValueError, RecursionError) as error:
            raise TokenInvalid("its signature does not hold") from error

    def jwks(self, algorithms: Iterable[str] = (DEFAULT_ALGORITHM,)) -> dict[str, Any]:
        """Return the public keys as a JWK Set; each of `algorithms` has one in it."""
        for alg in algorithms:
            self._signing(alg)
        now = self._clock.now()
        return {"keys": [dict(row.public) for row in self.known() if is_published(row, now)]}

    def known(self) -> tuple[SigningKeyRow, ...]:
        """Return all keys, oldest first."""
        with self._ledger.store.read() as connection:
            return rows.list_keys(connection, self._use)

    def rotate(self, *, actor: str, reason: str, compromised: bool = False) -> tuple[SigningKeyRow, ...]:
        """Make successors of all keys in use; return them.

        Args:
            actor, reason: for the journal.
            compromised: the old ones are forgotten at once, and what they signed is believed no more.
        """
        now = self._clock.now()
        known = self.known()
        algorithms = sorted({row.alg for row in known if row.retired_at is None})
        made = [(alg, *_make_key(alg)) for alg in algorithms]
        with self._ledger.entry(actor, reason) as entry:
            if compromised:
                for row in known:
                    rows.remove_key(entry.tx, row.kid)
            after = 0.0 if compromised else PUBLISHED_BEFORE_S
            found = tuple(self._add(entry, alg, key, pem, now + after) for alg, key, pem in made)
            entry.note("signing_key.rotated", keys=[row.kid for row in found], compromised=compromised)
        return found

    def sweep(self) -> None:
        """Make successors of what is old, retire what has one, forget what nobody needs (laws K1, K2)."""
        now = self._clock.now()
        known = self.known()
        over, forgotten, old = plan_rotation(known, now)
        if not (over or forgotten or old):
            return
        made = [(alg, *_make_key(alg)) for alg in old]
        with self._ledger.entry("limen", "signing keys are renewed in time") as entry:
            for alg, key, pem in made:
                row = self._add(entry, alg, key, pem, now + PUBLISHED_BEFORE_S)
                entry.note("signing_key.rotated", keys=[row.kid], compromised=False)
            for row in over:
                rows.retire_key(entry.tx, row.kid, now)
            for row in forgotten:
                rows.remove_key(entry.tx, row.kid)

    # --- inside ------------------------------------------------------------------------------------

    def _signing(self, alg: str) -> SigningKeyRow:
        if alg not in SIGNING_ALGORITHMS:
            raise Invalid(
                f"{alg[:20]!r} is not an algorithm to sign with.",
                remedy=f"Use one of {', '.join(SIGNING_ALGORITHMS)}.",
            )
        found = choose(self.known(), alg, self._clock.now())
        return found if found is not None else self._first(alg)

    def _first(self, alg: str) -> SigningKeyRow:
        with self._making:
            found = choose(self.known(), alg, self._clock.now())
            if found is not None:
                return found
            key, pem = _make_key(alg)
            with self._ledger.entry("limen", f"first signing key of {alg}") as entry:
                # another control node may have been quicker: writers take turns, and see each other
                there = choose(rows.list_keys(entry.tx.connection, self._use), alg, entry.tx.now)
                if there is not None:
                    return there
                row = self._add(entry, alg, key, pem, entry.tx.now)
                entry.note("signing_key.made", target=row.kid, alg=alg)
                return row

    def _add(
        self, entry: Entry, alg: str, key: AnyKey, pem: Secret[str], active_at: Instant
    ) -> SigningKeyRow:
        public = {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": alg}
        row = SigningKeyRow(key.thumbprint(), self._use, alg, public, entry.tx.now, active_at)
        rows.add_key(entry.tx, row, pem, self._sealer)
        return row

    def _open(self, row: SigningKeyRow) -> AnyKey:
        found = self._opened.get(row.kid)
        if found is None:
            with self._ledger.store.read() as connection:
                pem = rows.open_key(connection, row.kid, self._sealer)
            found = self._opened[row.kid] = _read_key(row.alg, pem)
        return found


def choose(known: Iterable[SigningKeyRow], alg: str, now: Instant) -> SigningKeyRow | None:
    """Return the key of `alg` that signs now: the youngest that does already (law K3).

    A clock that was set back finds none active: then the oldest signs, rather than one more.
    """
    usable = [row for row in known if row.alg == alg and row.retired_at is None]
    active = [row for row in usable if row.active_at <= now]
    if active:
        return max(active, key=lambda row: (row.active_at, row.kid))
    return min(usable, key=lambda row: (row.active_at, row.kid), default=None)


def is_published(row: SigningKeyRow, now: Instant) -> bool:
    """Whether a key belongs in the key set (laws K1, K2)."""
    return row.retired_at is None or now < row.retired_at + KEPT_S


def plan_rotation(
    known: Iterable[SigningKeyRow], now: Instant
) -> tuple[tuple[SigningKeyRow, ...], tuple[SigningKeyRow, ...], tuple[str, ...]]:
    """Return the keys to retire, those to forget, and the algorithms that need a successor."""
    keys = tuple(known)
    over, old = [], []
    for alg in sorted({row.alg for row in keys}):
        signing = choose(keys, alg, now)
        alive = [row for row in keys if row.alg == alg and row.retired_at is None]
        if signing is None:
            continue
        over += [row for row in alive if row.active_at <= now and row.kid != signing.kid]
        coming = any(row.active_at > now for row in alive)
        if not coming and now - signing.active_at >= ROTATE_S - PUBLISHED_BEFORE_S:
            old.append(alg)
    forgotten = tuple(row for row in keys if not is_published(row, now))
    return tuple(over), forgotten, tuple(old)


def _make_key(alg: str) -> tuple[AnyKey, Secret[str]]:
    key: AnyKey
    if alg == "ES256":
        key = ECKey.generate_key("P-256", private=True)
    else:
        key = RSAKey.generate_key(RSA_BITS, private=True)
    return key, Secret(key.as_pem(private=True).decode())


def _read_public(row: SigningKeyRow) -> AnyKey:
    public = dict(row.public)
    return ECKey.import_key(public) if row.alg == "ES256" else RSAKey.import_key(public)


def _read_key(alg: str, pem: Secret[str]) -> AnyKey:
    return ECKey.import_key(pem.reveal()) if alg == "ES256" else RSAKey.import_key(pem.reveal())
