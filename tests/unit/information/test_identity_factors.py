"""Passwords, assurance, buckets and marks, one by one."""

import argon2
import pytest
from argon2.exceptions import VerifyMismatchError
from identity_world import CHEAP

from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.information.identity import known_browser, recovery, totp
from limen.information.identity.assurance import Assurance, assess_methods
from limen.information.identity.passwords import (
    LENGTH_MAX,
    PROFILE,
    PasswordHasher,
    PasswordVerdict,
    hash_of_nobody,
    parse_new_password,
)
from limen.information.identity.throttle import (
    address_network,
    code_charges,
    password_charges,
)
from limen.information.identity.upstream_assurance import assess_upstream


@pytest.mark.parametrize(
    ("methods", "worth"),
    [
        ((), Assurance()),
        (("password",), Assurance(1)),
        (("totp",), Assurance()),
        (("recovery", "totp"), Assurance()),
        (("password", "totp"), Assurance(2)),
        (("password", "recovery"), Assurance(2)),
        (("passkey",), Assurance(2, phishing_resistant=True)),
        (("passkey", "password"), Assurance(2, phishing_resistant=True)),
        (("oidc:corp",), Assurance(1)),
        (("oidc:corp", "totp"), Assurance(2)),
        (("smoke",), Assurance()),
    ],
)
def test_assurance_is_a_table(methods: tuple[str, ...], worth: Assurance) -> None:
    assert assess_methods(methods) == worth


def test_an_upstream_claim_raises_and_never_lowers() -> None:
    assert assess_methods(("oidc:corp",), assess_upstream(["mfa"], "")) == Assurance(2)
    assert assess_methods(("passkey",), Assurance(1)) == Assurance(2, phishing_resistant=True)
    assert assess_upstream(["pwd", "otp", "MFA"], "urn:mace:incommon:iap:silver") == Assurance(1)


def test_passwords_are_argon2id_and_checked_in_one_normal_form() -> None:
    hasher = PasswordHasher(CHEAP)
    stored = hasher.hash(Secret("pässwörter im Regen"))
    assert stored.startswith("$argon2id$")
    decomposed = "pässwörter im Regen".replace("ä", "a\u0308").replace("ö", "o\u0308")
    assert hasher.check(stored, Secret(decomposed)) is PasswordVerdict.RIGHT
    assert hasher.check(stored, Secret("passworter im Regen")) is PasswordVerdict.WRONG


def test_the_stored_profile_is_rfc_9106s() -> None:
    assert (PROFILE.time_cost, PROFILE.memory_cost, PROFILE.parallelism) == (3, 65536, 4)


def test_an_older_hash_is_right_and_outdated() -> None:
    stored = PasswordHasher(CHEAP).hash(Secret("orchid-lantern"))
    assert PasswordHasher().check(stored, Secret("orchid-lantern")) is PasswordVerdict.RIGHT_OUTDATED


@pytest.mark.parametrize("profile", [PROFILE, CHEAP])
def test_p1_nobodys_hash_is_computed_to_its_end_and_not_refused_as_malformed(
    profile: argon2.Parameters,
) -> None:
    hasher, made = argon2.PasswordHasher.from_parameters(profile), hash_of_nobody(profile)
    assert not hasher.check_needs_rehash(made), "of the same costs as any other"
    assert [len(part) for part in made.split("$")] == [len(part) for part in hasher.hash("x").split("$")]
    with pytest.raises(VerifyMismatchError):
        hasher.verify(made, "the password of nobody")


def test_nobody_has_no_password() -> None:
    hasher = PasswordHasher(CHEAP)
    assert hasher.check(None, Secret("")) is PasswordVerdict.WRONG
    assert hasher.check("rubbish", Secret("x")) is PasswordVerdict.WRONG
    assert hasher.checks == 2


@pytest.mark.parametrize(
    ("text", "second", "said"),
    [
        ("a" * 14, False, "fewer than 15"),
        ("seven77", True, "fewer than 8"),
        ("x" * (LENGTH_MAX + 1), True, "more than"),
        ("Password1", True, "attacker"),
        ("QWERTYUIOP", True, "attacker"),
        ("ada-lovelace", True, "guessed"),
        ("aaaaaaaaaaaaaaaaaaa", False, "guessed"),
        ("limen.localhost", False, "guessed"),
    ],
)
def test_a_weak_password_is_refused_with_the_reason(text: str, second: bool, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_new_password(
            text, with_second_factor=second, known_words=("ada", "Ada Lovelace", "limen.localhost")
        )


def test_a_long_ordinary_phrase_is_fine_and_nothing_is_composed() -> None:
    for text in ("the otter reads at noon", "кит читает на рассвете", "correct horse battery staple!"):
        assert parse_new_password(text, with_second_factor=False).reveal() == text


def test_a_secret_seed_shows_itself_in_no_repr() -> None:
    seed = totp.new_seed()
    assert seed.reveal() not in repr(seed) and len(seed.reveal()) == 32
    uri = totp.provisioning_uri(seed, "ada", "limen.localhost")
    assert uri.reveal().startswith("otpauth://totp/limen.localhost:ada?secret=")
    assert "otpauth" not in repr(uri)


def test_recovery_codes_are_ten_distinct_ones_bound_to_their_person() -> None:
    codes = recovery.new_codes()
    assert len({code.reveal() for code in codes}) == 10
    assert all(len(code.reveal()) == 19 for code in codes)
    hashes = {recovery.hash_code(b"k", person, codes[0]) for person in ("ada", "bob")}
    assert len(hashes) == 2


def test_a_mark_counts_for_one_person_until_it_is_old() -> None:
    mark = known_browser.mint_mark(b"key", "ada", 1000.0)
    assert known_browser.verify_mark(b"key", "ada", mark, 2000.0)
    assert known_browser.verify_mark(b"key", "bob", mark, 2000.0) is None
    assert known_browser.verify_mark(b"other", "ada", mark, 2000.0) is None
    assert known_browser.verify_mark(b"key", "ada", mark, 1000.0 + known_browser.LIFE_S) is None
    for rubbish in ("", ".", "a.b", "é.1.2", mark[:-1], mark.replace(".", "..")):
        assert known_browser.verify_mark(b"key", "ada", rubbish, 2000.0) is None


def test_strangers_and_known_browsers_have_buckets_of_their_own() -> None:
    strangers = {key for key, _ in password_charges("ada", "192.0.2.1", None)}
    known = {key for key, _ in password_charges("ada", "192.0.2.1", "b1")}
    assert not strangers & known, "not even that of their address: an office shares it"
    assert not {k for k, _ in code_charges("ada", "192.0.2.1", None)} & {"browser-code:b1"}
    assert not any("ada" in key for key in strangers), "names are not kept in clear: strangers typed them"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
    ],
)
def test_one_source_is_an_ipv4_address_or_an_ipv6_site(address: str, network: str) -> None:
    assert address_network(address) == network
