"""Laws of the OpenID provider: keys that sign, addresses that codes go to, levels that are told."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from limen.administrator.oauth.claims import Subject, person_claims
from limen.administrator.oauth.levels import ACR_VALUES, acr_of, held, lacking, unmet
from limen.administrator.oauth.request import is_registered, redirect_origin
from limen.administrator.signing_keys import (
    KEPT_S,
    PUBLISHED_BEFORE_S,
    ROTATE_S,
    choose,
    is_published,
    plan_rotation,
)
from limen.administrator.step_up import is_met
from limen.engine.limen_client_rules import REDIRECT_URI, RESERVED_CLAIMS
from limen.store.sessions import Session
from limen.store.signing_keys import SigningKeyRow

START = 1_800_000_000.0


def live_through(steps: Iterable[float]) -> list[tuple[float, list[SigningKeyRow], str]]:
    """Live through sweeps at these distances; return instant, keys and who signs, after each."""
    now = START
    keys = [SigningKeyRow("k0", "oauth", "RS256", {}, now, now)]
    seen = []
    for number, step in enumerate(steps, 1):
        now += step
        over, forgotten, old = plan_rotation(keys, now)
        kept = [key for key in keys if key not in forgotten]
        keys = [
            SigningKeyRow(k.kid, k.use, k.alg, {}, k.created_at, k.active_at, now) if k in over else k
            for k in kept
        ]
        for alg in old:
            keys.append(SigningKeyRow(f"k{number}", "oauth", alg, {}, now, now + PUBLISHED_BEFORE_S))
        signing = choose(keys, "RS256", now)
        assert signing is not None
        seen.append((now, list(keys), signing.kid))
    return seen


STEPS = st.lists(st.floats(1.0, ROTATE_S / 2), min_size=1, max_size=40)


@given(STEPS)
def test_k1_published_first(steps: list[float]) -> None:
    for now, keys, signing in live_through(steps):
        signer = next(key for key in keys if key.kid == signing)
        assert signer.kid == "k0" or now - signer.created_at >= PUBLISHED_BEFORE_S


@given(STEPS)
def test_k2_kept_after(steps: list[float]) -> None:
    last_signed: dict[str, float] = {}
    for now, keys, signing in live_through(steps):
        last_signed[signing] = now
        published = {key.kid for key in keys if is_published(key, now)}
        assert {kid for kid, at in last_signed.items() if now - at < KEPT_S} <= published


@given(STEPS)
def test_k3_one_signs_and_none_for_ever(steps: list[float]) -> None:
    for now, keys, signing in live_through(steps):
        signer = next(key for key in keys if key.kid == signing)
        assert signer.retired_at is None
        coming = [key for key in keys if key.active_at > now]
        assert now - signer.active_at < ROTATE_S + max(steps) or coming


# --- addresses -------------------------------------------------------------------------------------------

WORDS = ("https://", "http://", "app.example", "127.0.0.1", "[::1]", ":8000", ":80", "@", "/", "cb", "..")
PIECES = st.lists(st.sampled_from([*WORDS, "?", "#", "\\", "%2f"]), max_size=7).map("".join)


@given(PIECES, PIECES)
@settings(max_examples=400)
def test_n1_no_redirect_that_is_not_registered(asked: str, registered: str) -> None:
    if is_registered(asked, registered) and asked != registered:
        assert registered.startswith(("http://127.0.0.1/", "http://[::1]/")) or registered in (
            "http://127.0.0.1",
            "http://[::1]",
        )
        host = registered.removeprefix("http://").split("/")[0].split("?")[0]
        rest = asked.removeprefix(f"http://{host}:")
        port = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        assert port and asked.replace(f":{port}", "", 1) == registered


@given(PIECES)
def test_what_a_bundle_may_register_leads_where_it_says(text: str) -> None:
    try:
        REDIRECT_URI.check(text)
    except ValueError:
        return
    scheme, _, rest = text.partition(":")
    assert "#" not in text and "\\" not in text and rest.startswith("/")
    if scheme in ("http", "https"):
        assert "@" not in text.split("/")[2] and text.split("/")[2]
        assert redirect_origin(text).startswith(("https://", "http://127.0.0.1", "http://[::1]"))
    else:
        assert "." in scheme and redirect_origin(text) == f"{scheme}:"


# --- levels ----------------------------------------------------------------------------------------------

SESSIONS = st.builds(
    lambda aal, resistant, age: Session(
        id="s", token_hash="h", person="ada", state="active", aal=aal,
        phishing_resistant=resistant and aal >= 2, methods=("password",), started_at=START - age,
        auth_at=START - age, seen_at=START, expires_at=START + 1, ip="", user_agent="",
    ),
    st.integers(1, 3),
    st.booleans(),
    st.floats(0, 100_000),
)  # fmt: skip
ASKED = st.lists(st.sampled_from([*ACR_VALUES, "urn:other"]), max_size=4)


@given(SESSIONS, ASKED)
def test_no_acr_is_told_that_is_not_held(session: Session, asked: list[str]) -> None:
    told = acr_of(session, asked)
    assert told in held(session)
    if set(asked) & held(session):
        assert told in asked


@given(SESSIONS, ASKED, st.none() | st.integers(30, 90_000), st.booleans())
def test_what_is_lacking_is_never_met_already(
    session: Session, asked: list[str], age: int | None, hardware: bool
) -> None:
    need = lacking(session, asked, age, START, hardware=hardware)
    assert need is None or hardware or need.id != "hardware-key"
    assert need is None or not is_met(need, session, START)
    if need is None and not unmet(session, asked):
        assert age is None or START - session.auth_at <= age


def test_hardware_is_asked_for_last_and_only_where_somebody_may_have_it() -> None:
    phrh, phr, multi_factor, _ = ACR_VALUES
    session = Session(
        id="s", token_hash="h", person="ada", state="active", aal=1, phishing_resistant=False,
        methods=("password",), started_at=START, auth_at=START, seen_at=START, expires_at=START + 1,
        ip="", user_agent="",
    )  # fmt: skip
    for asked, hardware, expected in (
        ((phrh,), True, "hardware-key"),
        ((phrh,), False, None),
        ((phrh, phr), True, "passkey"),
        ((phrh, multi_factor, phr), True, "second-factor"),
        ((phr, multi_factor), False, "passkey"),
    ):
        need = lacking(session, asked, None, START, hardware=hardware)
        assert (need.id if need else None) == expected


@given(
    st.dictionaries(st.sampled_from(["team", "role", "level"]), st.sampled_from(["username", "groups", "x"]))
)
def test_claims_of_the_bundle_never_say_what_a_token_is(more: dict[str, str]) -> None:
    subject = Subject("ada", "Ada", "ada@x.example", email_verified=True, groups=("staff",), attributes={})
    told = person_claims(subject, ("openid", "profile", "email", "groups"), more)
    assert not RESERVED_CLAIMS & told.keys()
    assert all(value is not None for value in told.values())
