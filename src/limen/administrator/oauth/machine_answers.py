"""What a workload's token is made of: its session, its claims, and the answer that carries it. Pure."""

from collections.abc import Mapping
from typing import Any

from limen.administrator.oauth.machine_proofs import Proven
from limen.administrator.oauth.values import TokenRequest
from limen.core.changes import WorkloadSessionFact
from limen.core.ids import Instant, TokenHash
from limen.store.machines import MachineSession


def session_of(
    proven: Proven,
    request: TokenRequest,
    *,
    hashed: TokenHash,
    apps: tuple[str, ...],
    jkt: str,
    starts_at: Instant,
    until: Instant,
) -> MachineSession:
    """Return the session of a token; `methods` say what it is bound to."""
    bound = (*(("dpop",) if jkt else ()), *(("mtls",) if request.x5t else ()))
    return MachineSession(
        token_hash=hashed,
        workload=proven.workload,
        methods=tuple(sorted({proven.method, *bound})),
        apps=apps,
        jkt=jkt,
        x5t=request.x5t,
        started_at=starts_at,
        expires_at=until,
        about=proven.about[:255],
        ip=request.ip,
    )


def actor_of(proven: Proven) -> str:
    """Return who acts, as events name them."""
    return f"workload:{proven.workload}"


def answer_of(token: str, life_s: float, jkt: str) -> Mapping[str, Any]:
    """Return what the token endpoint answers (RFC 6749 section 5.1, RFC 9449 section 5)."""
    return {
        "access_token": token,
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": int(life_s),
    }


def claims_of(issuer: str, audience: str, session: MachineSession, jti: str) -> Mapping[str, Any]:
    """Return the claims of a token for an API. `sub` is no person's: theirs have no colon (RFC 9068 5)."""
    fact: WorkloadSessionFact = session.render_fact()
    bound = {name: value for name, value in (("jkt", fact.jkt), ("x5t#S256", fact.x5t)) if value}
    return {
        "iss": issuer,
        "sub": f"workload:{session.workload}",
        "aud": audience,
        "client_id": session.workload,
        "iat": int(session.started_at),
        "exp": int(session.expires_at),
        "jti": jti,
        "amr": list(session.methods),
        **({"cnf": bound} if bound else {}),
    }
