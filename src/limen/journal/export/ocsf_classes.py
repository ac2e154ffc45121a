"""The OCSF 1.8.0 classes that Limen writes, and the numbers that go with them."""

from enum import Enum
from typing import NamedTuple

OCSF_VERSION = "1.8.0"


class Activity(NamedTuple):
    """One activity of a class."""

    id: int
    name: str


OTHER = Activity(99, "Other")


class OcsfClass(Enum):
    """A class: its number, its caption, and the profiles that Limen applies to it."""

    ACCOUNT_CHANGE = (3001, "Account Change", ())
    AUTHENTICATION = (3002, "Authentication", ())
    ENTITY_MANAGEMENT = (3004, "Entity Management", ("host",))
    USER_ACCESS = (3005, "User Access Management", ("host",))
    GROUP_MANAGEMENT = (3006, "Group Management", ("host",))
    DETECTION_FINDING = (2004, "Detection Finding", ())
    NETWORK_ACTIVITY = (4001, "Network Activity", ("security_control", "host"))
    HTTP_ACTIVITY = (4002, "HTTP Activity", ("security_control", "host"))
    API_ACTIVITY = (6003, "API Activity", ("security_control",))

    def __init__(self, uid: int, caption: str, profiles: tuple[str, ...]) -> None:
        self.uid = uid
        self.caption = caption
        self.profiles = profiles


HTTP_METHODS: dict[str, Activity] = {
    "CONNECT": Activity(1, "Connect"),
    "DELETE": Activity(2, "Delete"),
    "GET": Activity(3, "Get"),
    "HEAD": Activity(4, "Head"),
    "OPTIONS": Activity(5, "Options"),
    "POST": Activity(6, "Post"),
    "PUT": Activity(7, "Put"),
    "TRACE": Activity(8, "Trace"),
    "PATCH": Activity(9, "Patch"),
}

API_METHODS: dict[str, Activity] = {
    "POST": Activity(1, "Create"),
    "GET": Activity(2, "Read"),
    "HEAD": Activity(2, "Read"),
    "PUT": Activity(3, "Update"),
    "PATCH": Activity(3, "Update"),
    "DELETE": Activity(4, "Delete"),
}

FACTORS: dict[str, tuple[int, str]] = {
    "passkey": (10, "WebAuthn"),
    "password": (11, "Password"),
    "totp": (7, "OTP"),
}
"""`auth_factors` of Limen's methods; others are Other."""
