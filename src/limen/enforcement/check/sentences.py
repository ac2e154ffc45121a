"""What a person is told when no policy has a sentence of its own for it."""

from collections.abc import Mapping

from limen.core.decision import Code

CODE_SENTENCES: Mapping[Code, str] = {
    Code.NO_PERMIT: "No policy permits this.",
    Code.FORBIDDEN: "A policy forbids this.",
    Code.POLICY_ERROR: "A policy could not be evaluated, so nothing is opened.",
    Code.NO_RESOURCE: "This part of the app is not known.",
    Code.SUBJECT_UNKNOWN: "Your account is not in the directory any more.",
    Code.SUBJECT_SUSPENDED: "Your account is suspended.",
    Code.SUBJECT_ENDED: "Your account has been closed.",
    Code.SUBJECT_EXPIRED: "Your account has expired.",
    Code.QUARANTINED: "Your account is quarantined until somebody has looked at it.",
    Code.GROUPS_UNKNOWN: "Your identity provider did not say which groups you are in.",
    Code.PROOF_FAILED: "This token is bound to a key or a certificate, which this request does not prove.",
    Code.CROSS_APP: "Another site tried to send this in your name.",
    Code.STREAM_REFUSED: "This kind of live connection is not open here.",
}
"""Why, when no policy says so itself."""

LIMIT_SENTENCES: Mapping[str, str] = {
    "per_session": "This session has {most} live connections already, the most that {name} allows it "
    "(per_session). Close some of them, and try again.",
    "per_subject": "You have {most} live connections already, the most that {name} allows you "
    "(per_subject). Close some of them, on your other devices too, and try again.",
    "per_resource": "{name} has {most} live connections already, the most that it allows "
    "(per_resource). Try again later, or ask its owner for more.",
}
"""Which limit was met, by its name in `limen.yaml`, and what to do."""
