"""Machines from proof to use: each way to prove oneself, and what the gateway then makes of it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from check_world import header
from identity_world import AUTH
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from machine_world import (
    ISSUER,
    LIMEN_YAML,
    MACHINE_AUTH,
    PORT,
    TRUST,
    MachineWorld,
    body_of,
)

from limen.administrator.streams import Cause
from limen.core.entities import Status

WIKI = "https://wiki.limen.localhost:8443"


@pytest.fixture
def world(tmp_path: Path) -> MachineWorld:
    return MachineWorld(tmp_path)


# --- ways to prove oneself ---------------------------------------------------------------------------


def test_a_key_gives_a_short_token_that_policy_decides_at_each_use(world: MachineWorld) -> None:
    answer = world.ask("ci")
    body = answer.json()
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 1800)
    allowed = world.get(body["access_token"])
    assert allowed.status == 200
    assert world.get(body["access_token"], host="pay").status == 403, "no policy lets ci pay"
    decision = world.gateway_journal.decisions[0]
    assert decision.subject == 'Workload::"ci"' and decision.session is not None
    assert decision.session.startswith("workload:ci:")
    assert "workload.token_issued" in world.kinds()


def test_the_app_is_told_of_a_machine_by_a_name_that_no_person_has(world: MachineWorld) -> None:
    world.get(world.token("ci"))
    (claims,) = world.check._parts.signer.signed  # type: ignore[attr-defined]
    assert claims["sub"] == "workload:ci" and claims["kind"] == "workload" and claims["owner"] == "grace"
    assert claims["amr"] == ["key"]


def test_each_app_is_told_for_itself(world: MachineWorld) -> None:
    """One token opens several doors: what is said at one of them must never be said at another."""
    token = world.token("billing")
    assert world.open(world.request(token, host="ledger", method="CONNECT"))
    answers = [world.get(token), world.get(token, host="pay"), world.get(token)]
    shown = [header(one, "x-limen-assertion") for one in answers]
    assert shown == ["assertion-1", "assertion-2", "assertion-1"]
    audiences = [claims["aud"] for claims in world.check._parts.signer.signed]  # type: ignore[attr-defined]
    assert audiences == ["wiki", "pay"]
    shown = [
        header(world.get(host=one, **world.certificate()), "x-limen-assertion") for one in ("wiki", "pay")
    ]
    assert shown == ["assertion-3", "assertion-4"]


def test_a_secret_counts_where_the_bundle_allows_it_and_nowhere_else(world: MachineWorld) -> None:
    secret, _ = world.keys.add_secret("legacy", label="", life_s=86_400, overlap_s=0, actor="test", reason="")
    form = {"grant_type": "client_credentials", "client_id": "legacy", "client_secret": secret.reveal()}
    assert world.post(form).status_code == 200
    basic = base64.b64encode(f"legacy:{secret.reveal()}".encode()).decode()
    assert world.post({"grant_type": "client_credentials"}, authorization=f"Basic {basic}").status_code == 200
    world.apply({**world.files, "limen.yaml": LIMEN_YAML.replace("secrets: [legacy]", "secrets: []")})
    refused = world.post(form)
    assert refused.status_code == 401 and refused.json()["error"] == "invalid_client"
    assert "machines.secrets" in world.why("workload.not_proven")[0]


def test_a_secret_is_rotated_with_overlap(world: MachineWorld) -> None:
    def works(secret: Any) -> bool:
        form = {"grant_type": "client_credentials", "client_id": "legacy", "client_secret": secret.reveal()}
        return world.post(form).status_code == 200

    made = {"label": "", "life_s": 86_400.0, "actor": "test", "reason": ""}
    old, _ = world.keys.add_secret("legacy", overlap_s=0, **made)  # type: ignore[arg-type]
    new, _ = world.keys.add_secret("legacy", overlap_s=3600, **made)  # type: ignore[arg-type]
    assert works(old) and works(new)
    world.later(3601)
    assert not works(old) and works(new)
    assert "secret has expired" in world.why("workload.not_proven")[-1]


def test_a_token_of_ci_is_exchanged_by_issuer_audience_and_claims(world: MachineWorld) -> None:
    answer = world.exchange(world.issuer.token(world.clock.now()))
    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body["issued_token_type"].endswith(":access_token")
    assert world.get(body["access_token"]).status == 200
    (session,) = world.keys.sessions("ci")
    assert session.methods == ("exchange:ci",) and "repo:acme/shop" in session.about
    assert world.issuer.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]
    world.exchange(world.issuer.token(world.clock.now()))
    assert len(world.issuer.asked) == 2, "keys are kept"


def test_of_several_workloads_one_must_be_named(world: MachineWorld) -> None:
    claims: dict[str, Any] = {"sub": "repo:acme/billing:ref:refs/heads/main", "environment": "prod"}
    token = world.issuer.token(world.clock.now(), **claims)
    assert world.exchange(token).json()["error"] == "invalid_grant"
    assert "several workloads" in world.why("workload.not_proven")[0]
    assert world.exchange(token, client_id="billing").status_code == 200
    assert world.exchange(token, client_id="legacy").status_code == 400


def test_a_certificate_proves_a_workload_at_the_token_endpoint_and_binds_its_token(
    world: MachineWorld,
) -> None:
    shown = world.certificate()
    answer = world.post({"grant_type": "client_credentials", "client_id": "billing"}, **shown)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    (session,) = world.keys.sessions("billing")
    assert session.methods == ("mtls", "svid") and session.x5t
    assert world.get(token).status == 401, "without the certificate it opens nothing"
    assert world.get(token, **shown).status == 200
    assert world.get(token, **world.certificate(seed="another")).status == 401
    assert world.why("workload.proof_failed")[0].startswith("the token is bound to a certificate")


def test_an_svid_needs_no_token_at_all(world: MachineWorld) -> None:
    assert world.get(**world.certificate()).status == 200
    assert world.get(host="pay", **world.certificate()).status == 200
    decision = world.gateway_journal.decisions[-1]
    assert decision.subject == 'Workload::"billing"' and decision.policies == ("allow:pay:workload:billing",)
    assert world.get(**world.certificate(f"spiffe://{TRUST}/unknown")).status == 401
    world.later(3600)
    stale = world.certificate()
    stale["x-limen-cert-ends"] = f"{world.clock.now():.0f}"
    assert world.get(**stale).status == 401, "its time is over, however long the connection lives"


def test_a_token_for_an_api_is_decided_and_is_of_rfc_9068(world: MachineWorld) -> None:
    assert world.parts.oauth is not None
    denied = world.ask("ci", resource="https://api.example/payments")
    assert (denied.status_code, denied.json()["error"]) == (403, "access_denied")
    key = ECKey.generate_key("P-256")
    proof = world.proof(key, "POST", f"{AUTH}/oauth2/token")
    answer = world.ask("billing", dpop=proof, resource="https://api.example/payments")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("DPoP", 300)
    keys = KeySet.import_key_set(world.parts.oauth.keys())  # type: ignore[arg-type]
    token = jwt.decode(answer.json()["access_token"], keys, ["RS256"])
    assert token.header["typ"] == "at+jwt"
    assert token.claims["aud"] == "https://api.example/payments" and token.claims["iss"] == AUTH
    assert token.claims["sub"] == "workload:billing" and token.claims["client_id"] == "billing"
    assert token.claims["cnf"] == {"jkt": key.thumbprint()}
    points = [(d.point, d.verdict, d.resource) for d in world.journal.decisions]
    assert points == [("issue", "deny", 'Client::"payments"'), ("issue", "allow", 'Client::"payments"')]


# --- bound tokens ------------------------------------------------------------------------------------


def test_a_token_that_is_bound_to_a_key_opens_with_a_proof_alone(world: MachineWorld) -> None:
    key = ECKey.generate_key("P-256")
    token = world.token("ci", dpop=world.proof(key, "POST", f"{AUTH}/oauth2/token"))
    refused = world.get(token)
    assert refused.status == 401 and "DPoP" in str(header(refused, "www-authenticate"))
    assert body_of(refused)["code"] == "PROOF_FAILED" and b"bound to a key or" in refused.body
    proof = world.proof(key, "GET", f"{WIKI}/page", token)
    sent = {"authorization": f"DPoP {token}", "dpop": proof}
    allowed = world.get("", "/page?q=1", **sent)
    assert allowed.status == 200
    assert set((header(allowed, "x-envoy-auth-headers-to-remove") or "").split(",")) >= {
        "dpop",
        "authorization",
    }
    (session,) = world.keys.sessions("ci")
    assert session.methods == ("dpop", "key")


def test_a_tunnel_and_a_websocket_are_opened_with_a_proof(world: MachineWorld) -> None:
    key = ECKey.generate_key("P-256")
    token = world.token("ci", dpop=world.proof(key, "POST", f"{AUTH}/oauth2/token"))
    bare = world.request(token, host="ledger", method="CONNECT")
    assert world.open(bare) is None
    proof = world.proof(key, "CONNECT", "https://ledger.limen.localhost/", token)
    sent = {"authorization": f"DPoP {token}", "dpop": proof}
    assert world.open(world.request("", host="ledger", method="CONNECT", **sent)) is not None
    proof = world.proof(key, "GET", f"{WIKI}/ws", token)
    sent = {"authorization": f"DPoP {token}", "dpop": proof, "upgrade": "websocket"}
    assert world.open(world.request("", "/ws", **sent)) is not None


# --- decided, leashed, revoked like people -----------------------------------------------------------


def test_a_token_may_be_good_for_some_doors_only(world: MachineWorld) -> None:
    token = world.token("billing", audience="pay")
    assert world.get(token, host="pay").status == 200
    assert world.get(token).status == 401
    assert world.open(world.request(token, host="ledger", method="CONNECT")) is None
    ledger = world.token("billing", audience="ledger")
    assert world.open(world.request(ledger, host="ledger", method="CONNECT")) is not None
    assert world.ask("billing", audience="nowhere").json()["error"] == "invalid_target"
    assert world.ask("billing", resource=f"{WIKI}/x").status_code == 200


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.ENDED])
def test_streams_of_a_workload_that_is_stopped_are_cut_and_its_tokens_end(
    world: MachineWorld, status: Status
) -> None:
    token = world.token("ci")
    tunnel = world.open(world.request(token, host="ledger", method="CONNECT"))
    socket = world.open(world.request(token, "/ws", upgrade="websocket"))
    other = world.open(world.request(world.token("billing"), host="ledger", method="CONNECT"))
    assert tunnel and socket and other
    world.workloads.change("ci", {"status": status}, actor="test", reason="stop it")
    assert not world.is_live(tunnel) and not world.is_live(socket)
    assert world.is_live(other), "no innocent is cut"
    assert {one.cause for one in world.closed.values()} <= {Cause.SESSION_ENDED, Cause.DENIED}
    assert world.get(token).status == 401
    assert world.ask("ci").status_code in (400, 401)
    if status is Status.SUSPENDED:
        world.workloads.change("ci", {"status": Status.ACTIVE}, actor="test", reason="back")
        assert world.get(token).status == 401, "nobody comes back by an old session"


def test_a_quarantine_cuts_and_a_release_lets_the_same_token_in_again(world: MachineWorld) -> None:
    token = world.token("ci")
    tunnel = world.open(world.request(token, host="ledger", method="CONNECT"))
    assert tunnel
    world.workloads.change("ci", {"quarantined": True}, actor="test", reason="look")
    assert not world.is_live(tunnel) and world.get(token).status == 403
    assert world.ask("ci").json()["error"] == "invalid_grant"
    world.workloads.change("ci", {"quarantined": False}, actor="test", reason="fine")
    assert world.get(token).status == 200


def test_a_session_that_is_ended_a_key_that_is_removed_and_time_cut_streams(world: MachineWorld) -> None:
    tunnel = world.open(world.request(world.token("ci"), host="ledger", method="CONNECT"))
    assert tunnel and tunnel.question.session_id
    world.keys.end_session(tunnel.question.session_id, actor="test", reason="enough")
    assert not world.is_live(tunnel)
    tunnel = world.open(world.request(world.token("ci"), host="ledger", method="CONNECT"))
    (credential,) = world.keys.list("ci")
    world.keys.remove(credential.id, actor="test", reason="leaked")
    assert tunnel and not world.is_live(tunnel)
    tunnel = world.open(world.request(world.token("billing"), host="ledger", method="CONNECT"))
    assert tunnel and world.is_live(tunnel)
    world.later(1801)
    assert not world.is_live(tunnel), "a stream ends with the token that it was opened by"


def test_the_stream_of_an_svid_ends_with_its_mapping_its_workload_and_its_time(world: MachineWorld) -> None:
    def tunnel(seed: str) -> Any:
        found = world.open(world.request(host="ledger", method="CONNECT", **world.certificate(seed=seed)))
        assert found is not None and world.is_live(found)
        return found

    first = tunnel("1")
    other = LIMEN_YAML.replace(f"billing: spiffe://{TRUST}/billing", f"billing: spiffe://{TRUST}/new")
    world.apply({**world.files, "limen.yaml": other})
    assert not world.is_live(first)
    world.apply(world.files)
    second = tunnel("2")
    world.workloads.change("billing", {"status": Status.SUSPENDED}, actor="test", reason="stop")
    assert not world.is_live(second)
    world.workloads.change("billing", {"status": Status.ACTIVE}, actor="test", reason="go on")
    third = tunnel("3")
    world.later(3601)
    assert not world.is_live(third)


def test_uses_are_told_to_control_as_the_workloads_last(world: MachineWorld) -> None:
    world.get(world.token("ci"))
    assert world.seen and all(name.startswith("workload:ci:") for name in world.seen)
    world.clock.advance(600)
    rest = world.parts.workload_life.note_used({**world.seen, "ses_1": 5.0, "workload:ci:x": 9e12})
    assert rest == {"ses_1": 5.0}
    with world.store.read() as connection:
        from limen.store.workloads import get_workload

        assert get_workload(connection, "ci").used_at == world.clock.now(), "never later than now"


def test_discovery_says_where_machines_show_certificates(world: MachineWorld) -> None:
    found = world.browser().get("/.well-known/oauth-authorization-server").json()
    assert found["mtls_endpoint_aliases"] == {"token_endpoint": f"{MACHINE_AUTH}/oauth2/token"}
    assert "tls_client_auth" in found["token_endpoint_auth_methods_supported"]
    assert {"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"} <= set(
        found["grant_types_supported"]
    )
    assert str(PORT) in json.dumps(found)
