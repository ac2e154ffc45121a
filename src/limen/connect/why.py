"""Why a tunnel did not open, or ended: asked of the gateway where it can say so."""

import re
from collections.abc import Callable
from typing import NamedTuple

from limen.connect.https import Https, read_object
from limen.connect.outcomes import Cut, Finished, Lost, Outcome, Refused
from limen.connect.plain import plain
from limen.connect.problem import parse_refusal
from limen.core.errors import LimenError
from limen.core.secret import Secret

EXIT_DONE, EXIT_REFUSED, EXIT_CUT = 0, 1, 3

_STREAM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class End(NamedTuple):
    """An end, for the person: what to print, and the exit code of a program that carried one tunnel."""

    exit_code: int
    lines: tuple[str, ...] = ()
    signed_out: bool = False


def explain_outcome(outcome: Outcome, service: str, login_command: str, ask: Callable[[str], End]) -> End:
    """Return what an outcome means. `ask` asks the gateway why it ended a stream; it may block."""
    if isinstance(outcome, Finished):
        return End(EXIT_DONE)
    if isinstance(outcome, Refused):
        refusal = parse_refusal(outcome.status, read_object(outcome.body))
        lines = (f"{service} is not open: {refusal.sentence}", *refusal.lines(login_command)[1:])
        return End(EXIT_REFUSED, lines, signed_out=refusal.sign_in_again)
    if isinstance(outcome, Cut):
        if not outcome.stream_id:
            return End(EXIT_CUT, (f"The gateway closed the connection to {service}.",))
        return ask(outcome.stream_id)
    sentence = outcome.sentence if isinstance(outcome, Lost) else "The gateway takes no new connections now."
    return End(EXIT_REFUSED, (f"{service}: {sentence}",))


def ask_why(https: Https, token: Secret[str], service: str, stream_id: str) -> End:
    """Ask the gateway why it ended a stream: a leash's sentence, or that it was not the leash."""
    closed = End(EXIT_CUT, (f"The gateway closed the connection to {service}.",))
    if not _STREAM_ID.fullmatch(stream_id):
        return closed
    try:
        reply = https.get(f"/.limen/ended/{stream_id}", token)
    except LimenError:
        return closed
    said = read_object(reply.body)
    if reply.status == 200 and said.get("cause") != "finished":
        decision_id = plain(said.get("decision_id"), 64)
        sentence = plain(said.get("sentence")) or "It gave no reason."
        lines = (f"The gateway closed the connection to {service}: {sentence}",)
        return End(EXIT_CUT, (*lines, f"Decision {decision_id}") if decision_id else lines)
    if reply.status in (200, 404):
        return End(EXIT_REFUSED, (f"The connection to {service} broke at the service's side.",))
    return closed
