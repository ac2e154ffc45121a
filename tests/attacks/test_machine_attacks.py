"""What machines and those who play them try: each is refused, with a cause for the operator alone."""

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from check_world import header
from identity_world import AUTH
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from machine_world import ISSUER, JWT_BEARER, LIMEN_YAML, MACHINE_AUTH, TRUST, TYPE, MachineWorld

WIKI = "https://wiki.limen.localhost:8443"
TOKEN_URL = f"{AUTH}/oauth2/token"


@pytest.fixture
def world(tmp_path: Path) -> MachineWorld:
    return MachineWorld(tmp_path)


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> MachineWorld:
    return MachineWorld(tmp_path_factory.mktemp("machines"))


@pytest.fixture
def shared(one_world: MachineWorld) -> MachineWorld:
    """A world that many attempts share: each is made two minutes after the one before."""
    one_world.later(121)
    one_world.events.clear()
    one_world.gateway_journal.records.clear()
    return one_world


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def ask(world: MachineWorld, assertion: str, **more: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": assertion,
        **more,
    }
    answer = world.post(form)
    return answer.status_code, answer.json()


# --- assertions --------------------------------------------------------------------------------------

Forge = Callable[[MachineWorld], str]


def _unsigned(world: MachineWorld) -> str:
    _, body, _ = world.assertion("ci").split(".")
    return f"{b64({'alg': 'none', 'kid': 'ci-1'})}.{body}."


def _confused(world: MachineWorld) -> str:
    """Sign with the public key as if it were a shared secret."""
    secret = world.key_of["ci"].as_pem(private=False)
    body = f"{b64({'alg': 'HS256', 'kid': 'ci-1'})}.{world.assertion('ci').split('.')[1]}"
    return f"{body}.{b64(hmac.digest(secret, body.encode(), 'sha256'))}"


def _own_key(world: MachineWorld) -> str:
    """Bring the key along, in the header."""
    key = ECKey.generate_key("P-256")
    claims = json.loads(base64.urlsafe_b64decode(world.assertion("ci").split(".")[1] + "=="))
    return jwt.encode({"alg": "ES256", "kid": "ci-1", "jwk": key.as_dict(private=False)}, claims, key)


def _of_another_kind(world: MachineWorld) -> str:
    key = world.key_of["ci"]
    claims = json.loads(base64.urlsafe_b64decode(world.assertion("ci").split(".")[1] + "=="))
    return jwt.encode({"alg": "ES256", "kid": "ci-1", "typ": "at+jwt"}, claims, key)


FORGED: dict[str, tuple[Forge, str]] = {
    "no signature": (_unsigned, "algorithm"),
    "public key as secret": (_confused, "algorithm"),
    "own key in the header": (_own_key, "signature"),
    "another kind of token": (_of_another_kind, "another kind"),
    "another's key": (lambda w: w.assertion("ci", key=w.give_key("billing")), "a key that its issuer"),
    "another's name": (lambda w: w.assertion("ci", sub="legacy"), "no key that is registered"),
    "iss of another": (lambda w: w.assertion("ci", iss="billing"), "not of the client"),
    "for another audience": (lambda w: w.assertion("ci", aud="https://other.example"), "another audience"),
    "for two audiences": (lambda w: w.assertion("ci", aud=[AUTH, "https://evil.example"]), "or for several"),
    "expired": (lambda w: w.assertion("ci", exp=w.clock.now() - 31), "expired"),
    "endless": (lambda w: w.assertion("ci", exp=w.clock.now() + 86_400), "lives too long"),
    "without an end": (lambda w: w.assertion("ci", exp=None), "expired"),
    "of tomorrow": (lambda w: w.assertion("ci", iat=w.clock.now() + 31), "future"),
    "without jti": (lambda w: w.assertion("ci", jti=None), "jti"),
    "with a jti of another type": (lambda w: w.assertion("ci", jti={"a": 1}), "jti"),
    "huge": (lambda w: w.assertion("ci", pad="x" * 9_000), "too long"),
    "rubbish": (lambda w: "a.b.c", "no key"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_assertion_proves_nothing(shared: MachineWorld, name: str) -> None:
    shared.assertion("ci")  # so that it has a key
    before = [shared.keys.sessions(one) for one in ("ci", "billing")]
    forge, why = FORGED[name]
    status, body = ask(shared, forge(shared), client_id="ci" if name in ("huge", "iss of another") else "")
    assert (status, body["error"]) == (401, "invalid_client"), body
    assert body["error_description"] == "The workload is not proven.", "one answer for every reason"
    assert why in shared.why("workload.not_proven")[0]
    assert [shared.keys.sessions(one) for one in ("ci", "billing")] == before


def test_an_assertion_is_taken_once(world: MachineWorld) -> None:
    assertion = world.assertion("ci")
    assert ask(world, assertion)[0] == 200
    assert ask(world, assertion)[0] == 401
    assert "used before" in world.why("workload.not_proven")[0]


def test_a_key_that_expired_or_was_removed_proves_nothing(world: MachineWorld) -> None:
    assert world.ask("ci").status_code == 200
    (key,) = world.keys.list("ci")
    world.later(31 * 86_400)
    assert world.ask("ci").status_code == 401
    world.key_of.pop("ci")
    assert world.ask("ci").status_code == 200, "a new one does"
    for one in world.keys.list("ci"):
        if one.id != key.id:
            world.keys.remove(one.id, actor="test", reason="leaked")
    assert world.ask("ci").status_code == 401


def test_two_proofs_at_once_are_refused(world: MachineWorld) -> None:
    status, body = ask(world, world.assertion("ci"), client_secret="limen_ws_x")
    assert (status, body["error"]) == (400, "invalid_request")


def test_secrets_are_not_guessed_and_strangers_leave_no_words(world: MachineWorld) -> None:
    form = {"grant_type": "client_credentials", "client_id": "<script>", "client_secret": "limen_ws_y"}
    answers = [world.post(form).status_code for _ in range(80)]
    assert set(answers) <= {401, 429} and 429 in answers
    refused = [event for event in world.events if event.kind == "workload.not_proven"]
    assert len(refused) == 1 and refused[0].target == "" and "<script>" not in str(refused)


# --- exchange ----------------------------------------------------------------------------------------


def _laundered(world: MachineWorld) -> str:
    """A token of our own, or one that says so."""
    return world.issuer.token(world.clock.now(), iss=AUTH)


EXCHANGED: dict[str, tuple[Forge, str]] = {
    "ours": (_laundered, "one of ours"),
    "of a stranger": (
        lambda w: w.issuer.token(w.clock.now(), iss="https://evil.example"),
        "none of the bundle",
    ),
    "without issuer": (lambda w: w.issuer.token(w.clock.now(), iss=None), "none of the bundle"),
    "of a look-alike": (lambda w: w.issuer.token(w.clock.now(), iss=f"{ISSUER}/"), "none of the bundle"),
    "for somebody else": (lambda w: w.issuer.token(w.clock.now(), aud="https://other"), "another audience"),
    "for us and others": (
        lambda w: w.issuer.token(w.clock.now(), aud=[AUTH, "https://evil.example"]),
        "several audiences",
    ),
    "expired": (lambda w: w.issuer.token(w.clock.now() - 400), "expired"),
    "without an end": (lambda w: w.issuer.token(w.clock.now(), exp=None), "expired"),
    "that lives for years": (
        lambda w: w.issuer.token(w.clock.now(), exp=w.clock.now() + 9e8),
        "lives too long",
    ),
    "of tomorrow": (lambda w: w.issuer.token(w.clock.now(), iat=w.clock.now() + 61), "future"),
    "an access token": (lambda w: w.issuer.token(w.clock.now(), {"typ": "at+jwt"}), "another kind"),
    "a logout token": (lambda w: w.issuer.token(w.clock.now(), {"typ": "logout+jwt"}), "another kind"),
    "of another branch": (
        lambda w: w.issuer.token(w.clock.now(), sub="repo:acme/shop:ref:refs/heads/evil"),
        "no workload",
    ),
    "that spills over": (
        lambda w: w.issuer.token(w.clock.now(), sub="repo:acme/x:ref:refs/heads/y:ref:refs/heads/main"),
        "no workload",
    ),
    "of another owner": (
        lambda w: w.issuer.token(w.clock.now(), sub="repo:acme-evil/x:ref:refs/heads/main"),
        "no workload",
    ),
    "with a list for a claim": (
        lambda w: w.issuer.token(w.clock.now(), event=["push", "pull_request"]),
        "no workload",
    ),
    "with half of the claims": (lambda w: w.issuer.token(w.clock.now(), event=None), "no workload"),
    "not signed": (
        lambda w: f"{b64({'alg': 'none'})}.{w.issuer.token(w.clock.now()).split('.')[1]}.",
        "algorithm",
    ),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_token_that_is_not_of_a_workload_is_not_exchanged(shared: MachineWorld, name: str) -> None:
    forge, why = EXCHANGED[name]
    answer = shared.exchange(forge(shared))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text
    assert answer.json()["error_description"] == "The workload is not proven."
    assert why in shared.why("workload.not_proven")[0]
    assert not any(one.about.startswith("ci:") for one in shared.keys.sessions("ci"))


def test_a_hostile_issuer_poisons_no_keys_and_is_not_asked_twice(world: MachineWorld) -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "evil"})
    assert world.exchange(world.issuer.token(world.clock.now())).status_code == 200
    world.issuer.key = stranger
    assert world.exchange(world.issuer.token(world.clock.now())).status_code == 400
    asked = len(world.issuer.asked)
    for _ in range(5):
        assert world.exchange(world.issuer.token(world.clock.now())).status_code == 400
    assert len(world.issuer.asked) == asked, "rubbish costs the issuer one look in a minute"
    world.later(61)
    world.issuer.published = [stranger]
    assert world.exchange(world.issuer.token(world.clock.now())).status_code == 200, "it rotated"


def test_an_issuer_whose_configuration_is_anothers_is_not_believed(world: MachineWorld) -> None:
    world.issuer.said = {"issuer": "https://evil.example"}
    answer = world.exchange(world.issuer.token(world.clock.now()))
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


def test_an_issuer_that_is_away_lets_nobody_in(world: MachineWorld) -> None:
    world.issuer.down = True
    answer = world.exchange(world.issuer.token(world.clock.now()))
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert not world.keys.sessions("ci")


@pytest.mark.parametrize(
    "more",
    [
        {"subject_token_type": f"{TYPE}access_token"},
        {"subject_token_type": f"{TYPE}saml2"},
        {"actor_token": "x"},
        {"requested_token_type": f"{TYPE}refresh_token"},
        {"client_secret": "limen_ws_x"},
        {"client_assertion": "x"},
    ],
)
def test_one_kind_of_token_is_not_taken_for_another(shared: MachineWorld, more: dict[str, str]) -> None:
    answer = shared.exchange(shared.issuer.token(shared.clock.now()), **more)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_an_issuer_that_leaves_the_bundle_is_believed_no_more(world: MachineWorld) -> None:
    assert world.exchange(world.issuer.token(world.clock.now())).status_code == 200
    gone = LIMEN_YAML[: LIMEN_YAML.index("  issuers:")] + LIMEN_YAML[LIMEN_YAML.index("  spiffe:") :]
    world.apply({**world.files, "limen.yaml": gone})
    assert world.exchange(world.issuer.token(world.clock.now())).status_code == 400


# --- proofs of possession ----------------------------------------------------------------------------


class Thief:
    """Somebody who has a bound token, and what its owner once sent with it."""

    def __init__(self, world: MachineWorld) -> None:
        self.world = world
        self.key = ECKey.generate_key("P-256")
        self.token = world.token("ci", dpop=world.proof(self.key, "POST", TOKEN_URL))

    def proof(self, key: Any = None, method: str = "GET", url: str = f"{WIKI}/", **claims: Any) -> str:
        return self.world.proof(key or self.key, method, url, self.token, **claims)

    def use(self, proof: str, scheme: str = "DPoP", **headers: str) -> int:
        sent = {"authorization": f"{scheme} {self.token}", **({"dpop": proof} if proof else {}), **headers}
        return self.world.get(**sent).status

    def signed(self, head: dict[str, Any], key: Any, **claims: Any) -> str:
        body = json.loads(base64.urlsafe_b64decode(self.proof(**claims).split(".")[1] + "=="))
        return jwt.encode(head, body, key, [head["alg"]])


PROOFS: dict[str, Callable[[Thief], str]] = {
    "none": lambda t: "",
    "of another key": lambda t: t.proof(ECKey.generate_key("P-256")),
    "of another method": lambda t: t.proof(method="POST"),
    "of another page": lambda t: t.proof(url=f"{WIKI}/other"),
    "of another app": lambda t: t.proof(url="https://pay.limen.localhost:8443/"),
    "of another port": lambda t: t.proof(url="https://wiki.limen.localhost/"),
    "with a name in the address": lambda t: t.proof(url="https://evil@wiki.limen.localhost:8443/"),
    "in the clear": lambda t: t.proof(url="http://wiki.limen.localhost:8443/"),
    "of another token": lambda t: t.proof(ath="x" * 43),
    "of no token": lambda t: t.proof(ath=None),
    "too old": lambda t: t.proof(iat=t.world.clock.now() - 61),
    "of tomorrow": lambda t: t.proof(iat=t.world.clock.now() + 6),
    "without time": lambda t: t.proof(iat=None),
    "without jti": lambda t: t.proof(jti=None),
    "two": lambda t: f"{t.proof()},{t.proof()}",
    "with the private key": lambda t: t.signed(
        {"typ": "dpop+jwt", "alg": "ES256", "jwk": t.key.as_dict(private=True)}, t.key
    ),
    "not a proof": lambda t: t.signed(
        {"typ": "jwt", "alg": "ES256", "jwk": t.key.as_dict(private=False)}, t.key
    ),
    "by a shared secret": lambda t: t.signed(
        {"typ": "dpop+jwt", "alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"k" * 32)}},
        OctKey.import_key(b"k" * 32),
    ),
    "by a small key": lambda t: _by_small_key(t),
    "not signed": lambda t: (
        f"{b64({'typ': 'dpop+jwt', 'alg': 'none', 'jwk': t.key.as_dict(private=False)})}."
        f"{t.proof().split('.')[1]}."
    ),
    "rubbish": lambda t: "..",
}


def _by_small_key(thief: Thief) -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa

    raw = rsa.generate_private_key(65537, 1024)
    key = RSAKey.import_key(raw)
    return thief.signed({"typ": "dpop+jwt", "alg": "RS256", "jwk": key.as_dict(private=False)}, key)


@pytest.mark.parametrize("name", PROOFS)
def test_a_stolen_bound_token_opens_nothing(shared: MachineWorld, name: str) -> None:
    thief = Thief(shared)
    proof = PROOFS[name](thief)
    assert thief.use(proof) == 401
    assert thief.use(PROOFS[name](thief), scheme="Bearer") == 401
    decision = shared.gateway_journal.decisions[-1]
    assert (decision.verdict, decision.code) == ("deny", "PROOF_FAILED")
    assert len(shared.why("workload.proof_failed")) == 1, "told, and not over and over"


def test_a_proof_is_taken_once(world: MachineWorld) -> None:
    thief = Thief(world)
    proof = thief.proof()
    assert thief.use(proof) == 200
    assert thief.use(proof) == 401
    assert "used before" in world.why("workload.proof_failed")[0]
    world.later(61)
    assert thief.use(proof) == 401, "and once it is forgotten it is too old"


def test_a_proof_from_before_this_gateway_began_may_have_been_used(world: MachineWorld) -> None:
    world.clock.advance(-30)
    thief = Thief(world)
    early = thief.proof()
    world.clock.advance(30)
    assert thief.use(early) == 401
    assert thief.use(thief.proof()) == 200


def test_no_downgrade_and_no_upgrade(world: MachineWorld) -> None:
    thief = Thief(world)
    assert thief.use("", scheme="Bearer") == 401
    assert world.get("", x_limen_token=thief.token).status == 401
    basic = base64.b64encode(f"x:{thief.token}".encode()).decode()
    assert world.get("", authorization=f"Basic {basic}").status == 401
    assert world.get("", cookie=f"__Host-limen={thief.token}").status == 401
    bearer = world.token("ci")
    assert world.get(bearer).status == 200
    proof = world.proof(thief.key, "GET", f"{WIKI}/", bearer)
    refused = world.get("", authorization=f"DPoP {bearer}", dpop=proof)
    assert refused.status == 401, "a proof makes no token bound"


def test_a_proof_at_the_token_endpoint_is_for_it_and_once(world: MachineWorld) -> None:
    key = ECKey.generate_key("P-256")
    wrong = world.proof(key, "POST", f"{AUTH}/oauth2/introspect")
    assert world.ask("ci", dpop=wrong).json()["error"] == "invalid_dpop_proof"
    proof = world.proof(key, "POST", TOKEN_URL)
    assert world.ask("ci", dpop=proof).status_code == 200
    assert world.ask("ci", dpop=proof).json()["error"] == "invalid_dpop_proof"
    shown = world.certificate()
    alias = world.proof(key, "POST", f"{MACHINE_AUTH}/oauth2/token")
    form = {"grant_type": "client_credentials"}
    assert world.post(form, dpop=alias, **shown).status_code == 200


# --- certificates ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        f"spiffe://{TRUST}/billing,spiffe://{TRUST}/other",
        f"spiffe://{TRUST}/billing,https://billing.example",
        "spiffe://evil.example/billing",
        f"spiffe://{TRUST}.evil.example/billing",
        f"spiffe://{TRUST}",
        f"spiffe://{TRUST}/billing/",
        f"spiffe://{TRUST}/x/../billing",
        f"spiffe://{TRUST}//billing",
        f"spiffe://user@{TRUST}/billing",
        f"spiffe://{TRUST}:1/billing",
        f"spiffe://{TRUST}/billing?x",
        f"SPIFFE://{TRUST}/billing",
        f"spiffe://{TRUST}/Billing",
        "https://prod.example/billing",
        "-",
        "",
    ],
)
def test_a_certificate_that_is_no_svid_of_ours_is_nobody(shared: MachineWorld, uri: str) -> None:
    shown = shared.certificate(uri)
    assert shared.get(**shown).status == 401
    answer = shared.post({"grant_type": "client_credentials"}, **shown)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_where_a_certificate_is_shown_no_cookie_opens_anything(world: MachineWorld) -> None:
    from limen.core.changes import AppSessionFact, SessionFact
    from limen.core.tokens import mint_token

    now = world.clock.now()
    token, hashed = mint_token(world.key, 1)
    with world.store.transaction("test", "sign in") as tx:
        tx.change("session", "s1", SessionFact("s1", "grace", 2, False, ("password",), now, now, now + 600))
        tx.change("app_session", hashed, AppSessionFact(hashed, "s1", "wiki", now + 600))
    cookie = f"__Host-limen={token.reveal()}"
    assert world.get(cookie=cookie).status == 403, "grace is signed in, and nothing permits her"
    shown = world.certificate()
    world.get(cookie=cookie, **shown)
    assert world.gateway_journal.decisions[-1].subject == 'Workload::"billing"'
    assert world.get(cookie=cookie, **world.certificate("spiffe://evil.example/x")).status == 401


@pytest.mark.parametrize("name", ["x-limen-cert-starts", "x-limen-cert-ends", "x-limen-cert-sha256"])
def test_what_cannot_be_read_of_a_certificate_proves_nobody(shared: MachineWorld, name: str) -> None:
    shown = {**shared.certificate(), name: "-"}
    assert shared.get(**shown).status == 400
    assert shared.post({"grant_type": "client_credentials"}, **shown).status_code == 401


# --- the administration ------------------------------------------------------------------------------


def test_an_access_token_calls_the_admin_api_only_if_it_is_meant_to(world: MachineWorld) -> None:
    from limen.administrator.workloads import TokenRefused

    assert world.workloads.authenticate(world.token("ci", audience="limen"), "192.0.2.1").id == "ci"
    assert world.workloads.authenticate(world.token("ci"), "192.0.2.1").id == "ci"
    key = ECKey.generate_key("P-256")
    bound = world.token("ci", dpop=world.proof(key, "POST", TOKEN_URL))
    for token in (world.token("ci", audience="wiki"), bound):
        with pytest.raises(TokenRefused) as refused:
            world.workloads.authenticate(token, "192.0.2.1")
        assert refused.value.code == "TOKEN_UNFIT"
    old = world.token("ci")
    world.later(1801)
    with pytest.raises(TokenRefused):
        world.workloads.authenticate(old, "192.0.2.1")


def test_a_challenge_names_no_reason(world: MachineWorld) -> None:
    thief = Thief(world)
    for proof in ("", thief.proof(method="POST"), thief.proof(ECKey.generate_key("P-256"))):
        sent = {"authorization": f"DPoP {thief.token}", **({"dpop": proof} if proof else {})}
        answer = world.get(**sent)
        challenge = str(header(answer, "www-authenticate"))
        assert challenge.startswith('DPoP realm="wiki", error="invalid_dpop_proof", algs="')
        assert b"another key" not in answer.body and b"another request" not in answer.body
