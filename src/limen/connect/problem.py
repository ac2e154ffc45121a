"""What a gateway says when it does not open a tunnel, or ends one: sentences for the terminal.

Pure. Source: RFC 9457 (problem documents), RFC 9470 (step-up challenge).
"""

from typing import Any

import msgspec

from limen.connect.plain import plain
from limen.core.needs import NEEDS

REMEDIES_MAX = 8

CURES = {
    **{need.id: need.cure for need in NEEDS.values()},
    "sign-in": "Sign in.",
    "grant": "Ask for access.",
    "later": "Try again later: it opens at other hours.",
    "lower-risk": "Wait until the risk that was seen is cleared.",
    "compliant-device": "Use a device that meets your organisation's rules.",
    "enrolled-device": "Use a device that your organisation knows.",
}
"""A sentence for each remedy that a problem document names by its id alone."""

STATUSES = {
    0: "The gateway gave no answer.",
    401: "You are not signed in, or your sign-in has ended.",
    403: "This is not open to you.",
    404: "The gateway knows no such service.",
    421: "The gateway knows no such service.",
    429: "There are too many connections.",
    503: "The gateway cannot decide now, or the service does not answer.",
}
"""What a status means when nothing else was said."""


class Refusal(msgspec.Struct, frozen=True):
    """Why not, for a person. All text is plain (law N5)."""

    status: int
    sentence: str
    cures: tuple[str, ...] = ()
    decision_id: str = ""
    sign_in_again: bool = False
    need: str = ""  # what the sign-in must achieve (RFC 9470)

    def lines(self, login_command: str) -> tuple[str, ...]:
        """Return what to print: why, what would cure it, and what to tell the help desk."""
        need = f" --need {self.need}" if self.need else ""
        again = (f"Run: {login_command}{need}",) if self.sign_in_again else ()
        decision = (f"Decision {self.decision_id}",) if self.decision_id else ()
        return (self.sentence, *self.cures, *again, *decision)


def parse_refusal(status: int, body: dict[str, Any]) -> Refusal:
    """Return what a problem document says; a body that is none leaves the status to speak."""
    sentence = plain(body.get("detail")) or plain(body.get("title"))
    named = body.get("remedies")
    cures = [_cure(one) for one in (named if isinstance(named, list) else [])[:REMEDIES_MAX]]
    cures += [_cure(body.get(key)) for key in ("remedy", "cure")]
    kept = tuple(dict.fromkeys(cure for cure in cures if cure and cure != sentence))
    unknown = f"The gateway answered {status}."
    return Refusal(
        status,
        sentence or STATUSES.get(status, unknown),
        kept,
        plain(body.get("decision_id"), 64),
        sign_in_again=status == 401,
        need=need if isinstance(need := body.get("cure"), str) and need in NEEDS else "",
    )


def _cure(said: Any) -> str:
    """Return the sentence of a remedy: given by its id, by its sentence, or as an object with both."""
    if isinstance(said, dict):
        return plain(said.get("sentence")) or _cure(said.get("id"))
    text = plain(said)
    if text.startswith("posture:"):
        return f"Your device must pass: {text.removeprefix('posture:').replace('_', ' ')}."
    return CURES.get(text, text if " " in text else "")
