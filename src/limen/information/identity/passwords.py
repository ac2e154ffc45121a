"""Passwords: what may become one, and whether a given one is right.

Laws:
    P1 an unknown account costs the same work as a known one: `PasswordHasher.check(None, …)` hashes too.
    P2 a password is compared in one normal form (NFKC), so keyboards do not matter.
"""

import base64
import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from limen.core.errors import Invalid, Unavailable
from limen.core.secret import Secret

LENGTH_MIN_ALONE = 15  # characters, SP 800-63B-4 3.1.1.2: as the only factor
LENGTH_MIN_WITH_SECOND = 8  # characters, SP 800-63B-4 3.1.1.2: with a second factor
LENGTH_MAX = 256  # characters; at least 64 must be allowed (SP 800-63B-4 3.1.1.2)
GUESSES_MIN = 10**8  # zxcvbn's estimate, its score 3: what a slow hash keeps from a stolen database
JUDGED_MAX = 72  # characters that zxcvbn looks at
HASHING_AT_ONCE_MAX = 2  # each takes 64 MiB for a moment
HASHING_WAITING_MAX = 8  # more than these are turned away: a flood of passwords must not hold every thread

PROFILE = argon2.profiles.RFC_9106_LOW_MEMORY


class PasswordVerdict(StrEnum):
    """Wrong is the zero value."""

    WRONG = "wrong"
    RIGHT = "right"
    RIGHT_OUTDATED = "right-outdated"  # right, and stored with older parameters: hash it again


class PasswordHasher:
    """argon2id with RFC 9106's second recommended profile."""

    def __init__(self, profile: argon2.Parameters = PROFILE) -> None:
        self._argon2 = argon2.PasswordHasher.from_parameters(profile)
        self._room = threading.BoundedSemaphore(HASHING_AT_ONCE_MAX + HASHING_WAITING_MAX)
        self._turn = threading.BoundedSemaphore(HASHING_AT_ONCE_MAX)
        self._nobody = hash_of_nobody(profile)
        self.checks = 0  # how often a hash was computed to check: law P1 is tested by it

    def hash(self, password: Secret[str]) -> str:
        """Return the hash to store.

        Raises:
            Unavailable: too many passwords are being looked at.
        """
        with self._hashing():
            return self._argon2.hash(_normal(password.reveal()))

    def check(self, stored: str | None, password: Secret[str]) -> PasswordVerdict:
        """Compare with a stored hash; None stands for an account without password (law P1).

        Raises:
            Unavailable: too many passwords are being looked at.
        """
        text = _normal(password.reveal()[: LENGTH_MAX + 1])
        with self._hashing():
            self.checks += 1
            try:
                self._argon2.verify(stored or self._nobody, text)
            except (VerificationError, InvalidHashError):
                return PasswordVerdict.WRONG
        if stored is None or len(text) > LENGTH_MAX:
            return PasswordVerdict.WRONG
        outdated = self._argon2.check_needs_rehash(stored)
        return PasswordVerdict.RIGHT_OUTDATED if outdated else PasswordVerdict.RIGHT

    @contextmanager
    def _hashing(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise Unavailable(
                "Too many people sign in at this moment.", remedy="Try again in a moment.", code="BUSY"
            )
        try:
            with self._turn:
                yield
        finally:
            self._room.release()


def hash_of_nobody(profile: argon2.Parameters) -> str:
    """Return what looks like a hash, and to which no password is known: checking one takes as long as any.

    It is not computed, so that a start does not take as long as a sign-in.
    """
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()
        for size in (profile.salt_len, profile.hash_len)
    )
    costs = f"m={profile.memory_cost},t={profile.time_cost},p={profile.parallelism}"
    return f"$argon2id$v={profile.version}${costs}${salt}${digest}"


def parse_new_password(
    text: str, *, with_second_factor: bool, known_words: tuple[str, ...] = ()
) -> Secret[str]:
    """Return a password that may be set. `known_words`: username, name, domain.

    Raises:
        Invalid: too short, too long, common, or easily guessed. No rules of composition
            (SP 800-63B-4 3.1.1.2 forbids them).
    """
    normal = _normal(text)
    shortest = LENGTH_MIN_WITH_SECOND if with_second_factor else LENGTH_MIN_ALONE
    if len(normal) < shortest:
        raise Invalid(
            f"The password has fewer than {shortest} characters.", remedy="A few words in a row do well."
        )
    if len(normal) > LENGTH_MAX:
        raise Invalid(f"The password has more than {LENGTH_MAX} characters.", remedy="Shorten it.")
    if normal.casefold() in _common_passwords():
        raise Invalid("This password is on every attacker's list.", remedy="Choose another one.")
    words = [part for word in known_words for part in (word, *word.split()) if part]
    judged = zxcvbn(normal[:JUDGED_MAX], user_inputs=words)  # type: ignore[no-untyped-call]
    if judged["guesses"] < GUESSES_MIN:
        raise Invalid("This password is easily guessed.", remedy="Choose a longer or less usual one.")
    return Secret(normal)


@cache
def _common_passwords() -> frozenset[str]:
    return frozenset(FREQUENCY_LISTS["passwords"])


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
