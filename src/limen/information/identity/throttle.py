"""Throttling of sign-in: GCRA, per account and per address, that locks nobody out for ever.

Laws:
    H1 a refused attempt costs nothing: an attacker cannot push the end of the wait away.
    H2 a victim gets in: the buckets that strangers can empty, of an account or of an address that a
       whole office shares, are asked neither of a browser that has signed this person in before (it
       has its own) nor of a passkey (which nobody guesses: asking for challenges alone is bounded).

Source: the generic cell rate algorithm (ITU-T I.371); limits after NIST SP 800-63B-4 section 3.2.2.
"""

import hashlib
import ipaddress

import msgspec

from limen.core.ids import Instant


class Limit(msgspec.Struct, frozen=True):
    """`burst` attempts at once, then one each `interval_s`."""

    burst: int
    interval_s: float


# The first two bound guessing at one account: at most 20 at once and 480 in a day from all the world.
ACCOUNT_FROM_ADDRESS = Limit(burst=5, interval_s=180)
ACCOUNT = Limit(burst=20, interval_s=180)
KNOWN_BROWSER = Limit(burst=10, interval_s=90)
ADDRESS = Limit(burst=40, interval_s=3)  # an office behind one address signs in at nine o'clock
CHALLENGE = Limit(burst=120, interval_s=1)  # every view of the sign-in page may ask for one
CODE = Limit(burst=5, interval_s=60)  # six digits, three of them valid at a time
RECOVERY_ASKED = Limit(burst=3, interval_s=3_600)  # each may send mail to somebody who did not ask for it
RECOVERY_SHOWN = Limit(burst=5, interval_s=900)  # two things at once are guessed, or one beside the link
RECOVERY_ADDRESS = Limit(burst=10, interval_s=60)
RECOVERY_APPROVED = Limit(burst=10, interval_s=30)  # 40 random bits are read out to an approver
CODES_PER_SIGN_IN_MAX = 5  # then the password is asked again

ROUNDING_S = 0.001  # instants are floats: the sum of intervals may miss by less than this

Charge = tuple[str, Limit]
"""A bucket's key and its limit."""


class Wait(msgspec.Struct, frozen=True):
    """Refused; the same attempt would pass after `seconds`."""

    seconds: float


class Pass(msgspec.Struct, frozen=True):
    """Allowed; store `theoretical_at` for the bucket."""

    theoretical_at: Instant


def take(limit: Limit, theoretical_at: Instant | None, now: Instant) -> Pass | Wait:
    """Ask a bucket for one attempt. None: the bucket is full, as new ones are."""
    start = max(theoretical_at or now, now)
    earliest = start - (limit.burst - 1) * limit.interval_s
    if now < earliest - ROUNDING_S:
        return Wait(earliest - now)
    return Pass(start + limit.interval_s)


def password_charges(username: str, address: str, browser: str | None) -> tuple[Charge, ...]:
    """Return the buckets of one password attempt. `browser`: known to have signed this person in."""
    if browser is not None:
        return ((f"browser:{browser}", KNOWN_BROWSER),)
    network = address_network(address)
    account = _digest(username)
    return (
        (f"account-from:{account}:{network}", ACCOUNT_FROM_ADDRESS),
        (f"account:{account}", ACCOUNT),
        (f"address:{network}", ADDRESS),
    )


def code_charges(person: str, address: str, browser: str | None) -> tuple[Charge, ...]:
    """Return the buckets of one second-factor attempt."""
    if browser is not None:
        return ((f"browser-code:{browser}", CODE),)
    return ((f"code:{_digest(person)}", CODE), (f"address:{address_network(address)}", ADDRESS))


def recovery_ask_charges(name: str, address: str, browser: str | None) -> tuple[Charge, ...]:
    """Return the buckets of asking for recovery. `name` is as typed: who is not there has them, too."""
    if browser is not None:
        return ((f"browser-recovery:{browser}", RECOVERY_ASKED),)
    network = address_network(address)
    return (
        (f"recovery-asked:{_digest(name)}:{network}", RECOVERY_ASKED),
        (f"recovery-asked:{_digest(name)}", RECOVERY_ASKED),
        (f"address:recovery:{network}", RECOVERY_ADDRESS),
    )


def recovery_show_charges(name_hash: str, address: str) -> tuple[Charge, ...]:
    """Return the buckets of showing two things. None of them is one that a sign-in asks (law H2)."""
    return (
        (f"recovery-shown:{name_hash}", RECOVERY_SHOWN),
        (f"address:recovery:{address_network(address)}", RECOVERY_ADDRESS),
    )


def approval_charges(approver: str) -> tuple[Charge, ...]:
    """Return the buckets of looking up what somebody reads out to an approver."""
    return ((f"recovery-approver:{_digest(approver)}", RECOVERY_APPROVED),)


def address_charges(address: str) -> tuple[Charge, ...]:
    """Return the buckets of an attempt that names nobody: passkeys, links, providers."""
    return ((f"address:{address_network(address)}", ADDRESS),)


def challenge_charges(address: str) -> tuple[Charge, ...]:
    """Return the buckets of asking for a passkey challenge, which guesses nothing but takes a row."""
    return ((f"challenge:{address_network(address)}", CHALLENGE),)


def address_network(address: str) -> str:
    """Return what counts as one source: an IPv4 address, an IPv6 /64 (RFC 6177 gives a site no less)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
