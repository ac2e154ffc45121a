"""The table of what signing in again can achieve: one, and everybody uses it."""

from limen.administrator.oauth.levels import ACR_VALUES
from limen.administrator.step_up import Need, is_met
from limen.connect.problem import CURES
from limen.core.needs import NEEDS, cured_by_sign_in
from limen.engine.bundle_test_files import REMEDIES
from limen.engine.limen_oidc_keys import _PROVIDER
from limen.store.sessions import Session

AT = 1000.0


def _session(aal: int, *, resistant: bool) -> Session:
    return Session(
        id="s", token_hash="h", person="ada", state="active", aal=aal, phishing_resistant=resistant,
        methods=("password",), started_at=AT, auth_at=AT, seen_at=AT, expires_at=AT + 1, ip="", user_agent="",
    )  # fmt: skip


def test_a_need_achieves_those_that_follow_it() -> None:
    levels = {
        "hardware-key": (3, True),
        "passkey": (2, True),
        "second-factor": (2, False),
        "fresh-sign-in": (1, False),
    }
    assert list(levels) == list(NEEDS)
    for place, (aal, resistant) in enumerate(levels.values()):
        session = _session(aal, resistant=resistant)
        met = [name for name in NEEDS if is_met(Need(name), session, AT)]
        assert met == list(NEEDS)[place:]


def test_one_sign_in_cures_several_remedies_and_nothing_else() -> None:
    assert cured_by_sign_in(["second-factor", "hardware-key"]) == "hardware-key"
    assert cured_by_sign_in(["fresh-sign-in", "passkey"]) == "passkey"
    assert cured_by_sign_in(["fresh-sign-in"]) == "fresh-sign-in"
    assert (
        cured_by_sign_in([]) == cured_by_sign_in(["passkey", "grant"]) == cured_by_sign_in(["sign-in"]) == ""
    )


def test_every_list_of_needs_is_the_table() -> None:
    assert NEEDS.keys() <= CURES.keys()
    assert NEEDS.keys() <= REMEDIES
    assert set(_PROVIDER.keys["step_up"].form.keys) == NEEDS.keys()
    assert [need.acr for need in NEEDS.values() if need.acr] == list(ACR_VALUES[:3])
