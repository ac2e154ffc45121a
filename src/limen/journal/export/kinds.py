"""Every kind of event, in one table: its OCSF class and activity, and what its target is.

A kind that the table does not name takes its family's shape, by its first word; one of no known family is an
Entity Management event of activity Other. So a kind that is new is exported all the same.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from limen.journal.export.ocsf_classes import OTHER, Activity, OcsfClass

LOW, MEDIUM, HIGH, CRITICAL = 2, 3, 4, 5
INFORMATIONAL = 1


class Target(Enum):
    """What an event's target names. What nobody looked at may be a person."""

    PERSON = "person"
    SESSION = "session"
    THING = "thing"


class Shape(NamedTuple):
    """How a kind of event reads in OCSF.

    Attributes:
        target: what its target names.
        entity: what it manages, of Entity Management events.
        failed: it tells of something that did not succeed.
    """

    ocsf: OcsfClass
    activity: Activity
    target: Target = Target.THING
    entity: str = ""
    severity: int = INFORMATIONAL
    failed: bool = False


_LOGON, _LOGOFF, _TICKET = Activity(1, "Logon"), Activity(2, "Logoff"), Activity(3, "Authentication Ticket")
_CREATE, _UPDATE, _DELETE = Activity(1, "Create"), Activity(3, "Update"), Activity(4, "Delete")
_READ, _ENROLL, _UNENROLL = Activity(2, "Read"), Activity(6, "Enroll"), Activity(7, "Unenroll")
_ACCOUNT_DELETE = Activity(6, "Delete")
_ENABLE, _DISABLE, _RESET = Activity(2, "Enable"), Activity(5, "Disable"), Activity(4, "Password Reset")
_LOCK, _UNLOCK = Activity(9, "Lock"), Activity(12, "Unlock")
_MFA_ENABLE, _MFA_DISABLE = Activity(10, "MFA Factor Enable"), Activity(11, "MFA Factor Disable")
_ASSIGN, _REVOKE = Activity(1, "Assign Privileges"), Activity(2, "Revoke Privileges")
_CLOSE = Activity(2, "Close")

_AUTH, _ACCOUNT, _ENTITY = OcsfClass.AUTHENTICATION, OcsfClass.ACCOUNT_CHANGE, OcsfClass.ENTITY_MANAGEMENT
_PERSON, _SESSION = Target.PERSON, Target.SESSION

KINDS: Mapping[str, Shape] = {
    "sign_in.succeeded": Shape(_AUTH, _LOGON, _PERSON),
    "sign_in.failed": Shape(_AUTH, _LOGON, _PERSON, severity=LOW, failed=True),
    "sign_in.throttled": Shape(_AUTH, _LOGON, _PERSON, severity=MEDIUM, failed=True),
    "session.stepped_up": Shape(_AUTH, _LOGON, _SESSION),
    "session.ended": Shape(_AUTH, _LOGOFF, _SESSION),
    "app_session.ended": Shape(_AUTH, _LOGOFF, _SESSION),
    "token.created": Shape(_AUTH, _TICKET, _SESSION),
    "connect.signed_in": Shape(_AUTH, _TICKET, _SESSION),
    "connect.device_approved": Shape(_AUTH, _TICKET, _SESSION),
    "connect.device_denied": Shape(_AUTH, _TICKET, _SESSION, severity=LOW, failed=True),
    "client.signed_in": Shape(_AUTH, _TICKET),
    "client.signed_out": Shape(_AUTH, _LOGOFF),
    "client.denied": Shape(_AUTH, _TICKET, severity=LOW, failed=True),
    "client.cut": Shape(_AUTH, _LOGOFF, severity=LOW),
    "client.not_proven": Shape(_AUTH, _TICKET, severity=LOW, failed=True),
    "client.code_refused": Shape(_AUTH, _TICKET, severity=MEDIUM, failed=True),
    "client.code_reused": Shape(_AUTH, _TICKET, severity=HIGH, failed=True),
    "client.refresh_refused": Shape(_AUTH, _TICKET, severity=HIGH, failed=True),
    "client.refresh_reused": Shape(_AUTH, _TICKET, severity=HIGH, failed=True),
    "client.logout_untold": Shape(_AUTH, _LOGOFF, severity=LOW, failed=True),
    "client.logout_given_up": Shape(_AUTH, _LOGOFF, severity=MEDIUM, failed=True),
    "saml.refused": Shape(_AUTH, _TICKET, severity=MEDIUM, failed=True),
    "signing_key.made": Shape(_ENTITY, _CREATE, entity="signing key"),
    "signing_key.rotated": Shape(_ENTITY, _UPDATE, entity="signing key", severity=LOW),
    "person.created": Shape(_ACCOUNT, _CREATE, _PERSON),
    "person.removed": Shape(_ACCOUNT, _ACCOUNT_DELETE, _PERSON),
    "person.suspended": Shape(_ACCOUNT, _DISABLE, _PERSON),
    "person.ended": Shape(_ACCOUNT, _DISABLE, _PERSON),
    "person.quarantined": Shape(_ACCOUNT, _LOCK, _PERSON, severity=MEDIUM),
    "person.released": Shape(_ACCOUNT, _UNLOCK, _PERSON),
    "authenticator.added": Shape(_ACCOUNT, _MFA_ENABLE, _PERSON),
    "authenticator.removed": Shape(_ACCOUNT, _MFA_DISABLE, _PERSON),
    "recovery.asked": Shape(_ACCOUNT, _RESET, _PERSON, severity=LOW),
    "recovery.failed": Shape(_ACCOUNT, _RESET, _PERSON, severity=MEDIUM, failed=True),
    "recovery.approved": Shape(_ACCOUNT, _RESET, _PERSON, severity=MEDIUM),
    "recovery.completed": Shape(_ACCOUNT, _RESET, _PERSON, severity=MEDIUM),
    "recovery.stopped": Shape(_ACCOUNT, _RESET, _PERSON, severity=HIGH, failed=True),
    "recovery.lowered": Shape(_ACCOUNT, OTHER, _PERSON, severity=LOW),
    "recovery.restored": Shape(_ACCOUNT, OTHER, _PERSON),
    "notice.sent": Shape(_ENTITY, OTHER, _PERSON, entity="notice"),
    "notice.undelivered": Shape(_ENTITY, OTHER, _PERSON, entity="notice", severity=MEDIUM, failed=True),
    "enrolment.link_made": Shape(_ACCOUNT, _RESET, _PERSON),
    "enrolment.completed": Shape(_ACCOUNT, _ENABLE, _PERSON),
    "identity.linked": Shape(_ACCOUNT, _ENABLE, _PERSON),
    "identity.unlinked": Shape(_ACCOUNT, _DISABLE, _PERSON),
    "identity.signed_out": Shape(_AUTH, _LOGOFF, _PERSON),
    "identity.logout_refused": Shape(_AUTH, _LOGOFF, _PERSON, severity=LOW, failed=True),
    "group.created": Shape(OcsfClass.GROUP_MANAGEMENT, Activity(6, "Create")),
    "group.removed": Shape(OcsfClass.GROUP_MANAGEMENT, Activity(5, "Delete")),
    "group.member_added": Shape(OcsfClass.GROUP_MANAGEMENT, Activity(3, "Add User")),
    "group.member_removed": Shape(OcsfClass.GROUP_MANAGEMENT, Activity(4, "Remove User")),
    "grant.added": Shape(OcsfClass.USER_ACCESS, _ASSIGN),
    "grant.changed": Shape(OcsfClass.USER_ACCESS, _ASSIGN),
    "grant.revoked": Shape(OcsfClass.USER_ACCESS, _REVOKE),
    "grant.expired": Shape(OcsfClass.USER_ACCESS, _REVOKE),
    "grant.removed": Shape(OcsfClass.USER_ACCESS, _REVOKE),
    "bundle.changed": Shape(_ENTITY, _UPDATE, entity="policy"),
    "bundle.removed": Shape(_ENTITY, _DELETE, entity="policy"),
    "workload.token_issued": Shape(_AUTH, _TICKET),
    "workload.not_proven": Shape(_AUTH, _LOGON, severity=LOW, failed=True),
    "workload.proof_failed": Shape(_AUTH, _LOGON, severity=MEDIUM, failed=True),
    "workload.session_ended": Shape(_AUTH, _LOGOFF),
    "workload.removed": Shape(_ENTITY, _DELETE, entity="workload"),
    "secret.set": Shape(_ENTITY, _UPDATE, entity="secret"),
    "secret.removed": Shape(_ENTITY, _DELETE, entity="secret"),
    "gateway.token": Shape(_ENTITY, _CREATE, entity="gateway"),
    "gateway.joined": Shape(_ENTITY, _ENROLL, entity="gateway"),
    "gateway.renewed": Shape(_ENTITY, _UPDATE, entity="gateway"),
    "gateway.removed": Shape(_ENTITY, _UNENROLL, entity="gateway"),
    "stream.ended": Shape(OcsfClass.NETWORK_ACTIVITY, _CLOSE),
    "streams.end_asked": Shape(_ENTITY, _UPDATE, entity="streams", target=_PERSON),
    "streams.reassessed": Shape(_ENTITY, _UPDATE, entity="streams"),
    "journal.loss": Shape(OcsfClass.DETECTION_FINDING, _CREATE, severity=CRITICAL),
    "journal.key_trusted": Shape(_ENTITY, _ENROLL, entity="journal"),
    "journal.drained": Shape(_ENTITY, _UPDATE, entity="journal"),
    "journal.retention": Shape(_ENTITY, _DELETE, entity="journal"),
    "source.read": Shape(_ENTITY, _UPDATE, entity="source"),
    "source.stopped": Shape(_ENTITY, _UPDATE, entity="source", severity=HIGH, failed=True),
    "source.failed": Shape(_ENTITY, _UPDATE, entity="source", severity=MEDIUM, failed=True),
    "scim.token_made": Shape(_ENTITY, _CREATE, entity="token"),
    "scim.token_revoked": Shape(_ENTITY, _DELETE, entity="token"),
    "scim.token_refused": Shape(_AUTH, _LOGON, severity=MEDIUM, failed=True),
    "scim.adopted": Shape(_ACCOUNT, OTHER, _PERSON),
    "scim.not_released": Shape(_ACCOUNT, OTHER, _PERSON, severity=LOW, failed=True),
    "subject.erased": Shape(_ACCOUNT, _ACCOUNT_DELETE, _PERSON),
    "break_glass.sealed": Shape(_ENTITY, _CREATE, entity="emergency access", severity=MEDIUM),
    "break_glass.withdrawn": Shape(_ENTITY, _DELETE, entity="emergency access"),
    "break_glass.used": Shape(_AUTH, _LOGON, severity=CRITICAL),
    "break_glass.failed": Shape(_AUTH, _LOGON, severity=HIGH, failed=True),
    "break_glass.reviewed": Shape(_ENTITY, _UPDATE, entity="emergency access"),
    "person.expired": Shape(_ACCOUNT, _DISABLE, _PERSON),
    "person.orphaned": Shape(_ACCOUNT, _UPDATE, _PERSON, severity=MEDIUM),
}

FAMILIES: Mapping[str, Shape] = {
    "sign_in": Shape(_AUTH, OTHER, _PERSON),
    "session": Shape(_AUTH, OTHER, _SESSION),
    "app_session": Shape(_AUTH, OTHER, _SESSION),
    "token": Shape(_AUTH, OTHER, _SESSION),
    "connect": Shape(_AUTH, OTHER, _SESSION),
    "client": Shape(_AUTH, OTHER),
    "signing_key": Shape(_ENTITY, OTHER, entity="signing key"),
    "person": Shape(_ACCOUNT, OTHER, _PERSON),
    "subject": Shape(_ENTITY, _READ, _PERSON, entity="subject"),
    "authenticator": Shape(_ACCOUNT, OTHER, _PERSON),
    "recovery": Shape(_ACCOUNT, OTHER, _PERSON),
    "notice": Shape(_ENTITY, OTHER, _PERSON, entity="notice"),
    "identity": Shape(_ACCOUNT, OTHER, _PERSON),
    "enrolment": Shape(_ACCOUNT, OTHER, _PERSON),
    "group": Shape(OcsfClass.GROUP_MANAGEMENT, OTHER),
    "grant": Shape(OcsfClass.USER_ACCESS, OTHER),
    "bundle": Shape(_ENTITY, OTHER, entity="policy"),
    "policy": Shape(_ENTITY, OTHER, entity="policy"),
    "proposal": Shape(_ENTITY, OTHER, entity="policy"),
    "rollout": Shape(_ENTITY, OTHER, entity="policy"),
    "shadow": Shape(_ENTITY, OTHER, entity="policy"),
    "complaint": Shape(_ENTITY, OTHER, entity="complaint"),
    "hold": Shape(_ENTITY, OTHER, _PERSON, entity="legal hold"),
    "audit": Shape(_ENTITY, _READ, _PERSON, entity="journal"),
    "data": Shape(_ENTITY, _READ, _PERSON, entity="records"),
    "workload": Shape(_ENTITY, OTHER, entity="workload"),
    "secret": Shape(_ENTITY, OTHER, entity="secret"),
    "gateway": Shape(_ENTITY, OTHER, entity="gateway"),
    "source": Shape(_ENTITY, OTHER, entity="source"),
    "scim": Shape(_ENTITY, OTHER, entity="source"),
    "stream": Shape(OcsfClass.NETWORK_ACTIVITY, OTHER),
    "streams": Shape(_ENTITY, OTHER, _PERSON, entity="streams"),
    "journal": Shape(OcsfClass.DETECTION_FINDING, _CREATE, severity=HIGH),
    "break_glass": Shape(_ENTITY, OTHER, entity="emergency access"),
    "ship": Shape(OcsfClass.DETECTION_FINDING, _CREATE, severity=HIGH),
}

UNKNOWN = Shape(_ENTITY, OTHER, _PERSON)


def shape_of(kind: str) -> Shape:
    """Return how a kind of event reads in OCSF."""
    return KINDS.get(kind) or FAMILIES.get(kind.partition(".")[0], UNKNOWN)


def target_of(kind: str) -> Target:
    """Return what the target of a kind of event names."""
    return shape_of(kind).target
