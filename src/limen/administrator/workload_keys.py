"""Keys, secrets and sessions of workloads, as people administer them.

Laws:
    K3 told once. A secret is returned when it is made, and never again: only its hash is kept.
    K4 no secrets by default. A long-lived shared secret is made only for a workload that the bundle names.
    K5 overlap. A secret is replaced while the old one still counts, for a time that is said.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from limen.administrator.ledger import Entry, Ledger
from limen.administrator.oauth.machine_proofs import SECRET_PREFIX
from limen.core.catalogue import Catalogue
from limen.core.changes import MACHINE_SESSION
from limen.core.errors import Invalid, NotFound, Refused
from limen.core.ids import Instant
from limen.core.secret import Secret
from limen.core.tokens import token_hash
from limen.store import machines
from limen.store.machines import KEY, SECRET, Credential, MachineSession
from limen.store.workloads import get_workload

RSA_MIN_BITS, RSA_MAX_BITS = 2_048, 4_096
OVERLAP_MAX_S = 7 * 86_400.0
SECRETS_MAX = 2  # live ones of a workload: the old and the new

_KEYS: Mapping[str, tuple[type[ECKey | RSAKey | OKPKey], tuple[str, ...]]] = {
    "EC": (ECKey, ("crv", "x", "y")),
    "RSA": (RSAKey, ("n", "e")),
    "OKP": (OKPKey, ("crv", "x")),
}


class WorkloadKeys:
    """The administration of what workloads prove themselves by. Threads may share it."""

    def __init__(self, ledger: Ledger, catalogue: Callable[[], Catalogue]) -> None:
        self._ledger = ledger
        self._catalogue = catalogue

    def add_key(
        self, name: str, jwk: Mapping[str, Any], *, label: str, life_s: float, actor: str, reason: str
    ) -> Credential:
        """Register the public half of a key that a workload has made for itself."""
        public, thumbprint = parse_public_key(jwk)
        with self._ledger.entry(actor, reason) as entry:
            made = machines.add_credential(
                entry.tx, name, kind=KEY, proof=thumbprint, public=public, label=label, life_s=life_s
            )
            _note(entry, "key_added", made)
        return made

    def add_secret(
        self, name: str, *, label: str, life_s: float, overlap_s: float, actor: str, reason: str
    ) -> tuple[Secret[str], Credential]:
        """Make a secret; those before it count for `overlap_s` more (laws K3, K4, K5).

        Raises:
            Refused: the bundle does not let this workload have one.
            Invalid: the overlap is too long.
        """
        self.demand_allowed(name)
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise Invalid("overlap_s: the old secret counts a week more at most.", remedy="Write 1h.")
        text = SECRET_PREFIX + secrets.token_urlsafe(32)
        with self._ledger.entry(actor, reason) as entry:
            self._make_room(entry, name, entry.tx.now + overlap_s)
            made = machines.add_credential(
                entry.tx, name, kind=SECRET, proof=token_hash(text), label=label, life_s=life_s
            )
            _note(entry, "secret_added", made)
        return Secret(text), made

    def demand_allowed(self, name: str) -> None:
        """Raise `Refused` unless the bundle lets a workload have a long-lived shared secret (law K4)."""
        if name not in self._catalogue().sources.machines.secrets:
            raise Refused(
                f"No policy lets {name[:64]} have a long-lived shared secret.",
                remedy="Give it a key (`limen workload key add`), or name it in `machines.secrets`.",
                code="SECRET_NOT_ALLOWED",
            )

    def _make_room(self, entry: Entry, name: str, until: Instant) -> None:
        """Let the secrets that a workload has end soon; of those that overlapped before none is left."""
        held = [one for one in machines.list_credentials(entry.tx.connection, name) if one.kind == SECRET]
        for old in held[: max(0, len(held) - SECRETS_MAX + 1)]:
            machines.remove_credential(entry.tx, old.id)
        for old in held[max(0, len(held) - SECRETS_MAX + 1) :]:
            machines.shorten_credential(entry.tx, old, until)

    def remove(self, credential_id: str, *, actor: str, reason: str) -> Credential:
        """End a key or a secret now, and its workload's sessions with it: which were its is not known."""
        with self._ledger.entry(actor, reason) as entry:
            gone = machines.remove_credential(entry.tx, credential_id)
            ended = machines.end_sessions(entry.tx, gone.workload)
            _note(entry, f"{gone.kind}_removed", gone, sessions=ended)
        return gone

    def list(self, name: str | None = None) -> tuple[Credential, ...]:
        """Return keys and secrets, with which nothing can be opened, of one workload or of all."""
        with self._ledger.store.read() as connection:
            if name is not None:
                get_workload(connection, name)
            return machines.list_credentials(connection, name)

    # --- sessions ----------------------------------------------------------------------------------

    def sessions(self, name: str) -> tuple[MachineSession, ...]:
        """Return the sessions of a workload's tokens, oldest first."""
        with self._ledger.store.read() as connection:
            get_workload(connection, name)
            return machines.list_sessions(connection, name)

    def end_session(self, session_id: str, *, actor: str, reason: str) -> None:
        """End a session now: its token opens nothing more, and its streams are cut.

        Raises:
            NotFound: there is none of this id.
        """
        name = workload_of(session_id)
        with self._ledger.entry(actor, reason) as entry:
            held = machines.list_sessions(entry.tx.connection, name)
            found = next((one for one in held if one.render_fact().session_id == session_id), None)
            if found is None:
                said = f"There is no session {session_id[:120]!r} of a workload."
                raise NotFound(said, remedy="See `limen workload sessions NAME`.")
            machines.end_session(entry.tx, found)
            owner = get_workload(entry.tx.connection, name).owner
            entry.note("workload.session_ended", target=name, owner=owner, session=session_id)


def workload_of(session_id: str) -> str:
    """Return the workload that a session is of, by its id."""
    return session_id.removeprefix(MACHINE_SESSION).partition(":")[0]


def parse_public_key(jwk: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return a key as it is kept, named by its thumbprint (RFC 7638), and that.

    Raises:
        Invalid: it is no public key that can be used here.
    """
    if "d" in jwk or "k" in jwk:
        raise Invalid(
            "jwk: this is a private key, which is now known to others.",
            remedy="Make a new one, and send its public half alone.",
        )
    known = _KEYS.get(str(jwk.get("kty")))
    if known is None:
        raise Invalid("jwk: it is no key of kind EC, RSA or OKP.", remedy="Make one: ES256 or EdDSA is best.")
    kind, members = known
    try:
        bare = {"kty": jwk["kty"], **{name: jwk[name] for name in members}}
        key = kind.import_key(bare)
        bits = key.raw_value.key_size if isinstance(key, RSAKey) else RSA_MIN_BITS
    except (JoseError, ValueError, TypeError, KeyError):
        raise Invalid(
            "jwk: the key cannot be read.", remedy="Send a JSON Web Key (RFC 7517), its public half."
        ) from None
    if not RSA_MIN_BITS <= bits <= RSA_MAX_BITS:
        raise Invalid("jwk: an RSA key has 2,048 to 4,096 bits here.", remedy="Make another.")
    thumbprint = key.thumbprint()
    kid = jwk.get("kid")
    named = kid if isinstance(kid, str) and 0 < len(kid) <= 128 and kid.isprintable() else thumbprint
    return {**bare, "kid": named, "use": "sig"}, thumbprint


def _note(entry: Entry, what: str, one: Credential, **more: Any) -> None:
    owner = get_workload(entry.tx.connection, one.workload).owner
    about = {"credential": one.id, "name": one.name, "expires_at": one.expires_at, "owner": owner}
    entry.note(f"workload.{what}", target=one.workload, **about, **more)
