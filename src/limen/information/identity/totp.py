"""Time-based one-time codes (RFC 6238), each accepted once.

Law: T1 no code twice. Only a step later than the last accepted one counts, so a code that was seen
over a shoulder is worth nothing, and neither is an older one.
"""

import hmac
import re

import pyotp

from limen.core.ids import Instant
from limen.core.secret import Secret

STEP_S = 30  # RFC 6238 section 4.1
DRIFT_STEPS = 1  # accepted each way; RFC 6238 section 5.2
DIGITS = 6
SEED_LENGTH = 32  # base32 characters: 160 bits, RFC 4226 section 4 R6

CODE_SHAPE = re.compile(r"[0-9]{6}")


def new_seed() -> Secret[str]:
    """Return a fresh base32 seed."""
    return Secret(pyotp.random_base32(SEED_LENGTH))


def accepted_step(seed: Secret[str], code: str, now: Instant, last_step: int) -> int | None:
    """Return the time step that `code` belongs to, or None. The caller stores it as `last_step`."""
    code = code.replace(" ", "")
    if not CODE_SHAPE.fullmatch(code):
        return None
    generator = pyotp.TOTP(seed.reveal(), digits=DIGITS, interval=STEP_S)
    current = int(now // STEP_S)
    found = None
    for step in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1):
        right = hmac.compare_digest(generator.generate_otp(step), code)
        if right and step > last_step:
            found = step
    return found


def code_at(seed: Secret[str], now: Instant) -> str:
    """Return the code that an authenticator app shows at `now`."""
    return pyotp.TOTP(seed.reveal(), digits=DIGITS, interval=STEP_S).at(int(now))


def provisioning_uri(seed: Secret[str], username: str, issuer: str) -> Secret[str]:
    """Return the `otpauth:` URI that authenticator apps scan."""
    return Secret(
        pyotp.TOTP(seed.reveal(), digits=DIGITS).provisioning_uri(name=username, issuer_name=issuer)
    )
