"""What a check is made of."""

import time
from collections.abc import Callable

import msgspec

from limen.administrator.recording import InputsOf, JournalPort
from limen.administrator.replica import Replica
from limen.core.clock import Clock
from limen.core.ids import Instant
from limen.enforcement.check.assertion import Signer
from limen.enforcement.check.ports import Decider, Explainer, Pages, Unseal
from limen.engine.replay import stable_inputs


class CheckParts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one gateway's check.

    Attributes:
        token_key: key of the MAC on session tokens.
        make_nonce: 32 fresh hex digits.
        note_seen: told of sessions in use, at most each half minute per session.
        ticks_ns: a monotonic clock for `took_us`.
        inputs_of: picks the stable inputs of a decision.
    """

    replica: Replica
    engine: Decider
    journal: JournalPort
    signer: Signer
    explainer: Explainer
    pages: Pages
    unseal: Unseal
    clock: Clock
    token_key: bytes
    node: str
    make_nonce: Callable[[], str]
    note_seen: Callable[[str, Instant], None]
    ticks_ns: Callable[[], int] = time.perf_counter_ns
    inputs_of: InputsOf = stable_inputs
