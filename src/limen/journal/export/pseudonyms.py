"""Pseudonyms: exports for people who should see patterns, and not who it was (GDPR article 4(5)).

A name becomes its HMAC-SHA256 under a key that is not exported, so the same person has the same pseudonym
in every export under that key, and nobody without the key can try names. Another key unlinks the exports.

Laws:
    X3 nameless. No name of a person, no session id and no whole address leaves under pseudonyms.

What is replaced: subjects, actors and targets that are people, sessions, and people in the data of events.
What is cut: addresses, to /24 and /48. What is left out: paths, reasons, names that somebody typed, and the
ids of inputs, which are the same for all requests of a session.

What stays linkable: all records of one person to each other; each record to the journal, by its id, for
whoever may read that; a lone person in a small group, network or app, or with a known habit, by what, where
and when. So to whoever holds key or journal it is still personal data. Groups, workloads, gateways and apps
keep the names that administrators gave them: one named after a person names that person.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limen.core.errors import Invalid
from limen.core.secret import Secret
from limen.journal.export.event_data import DATA_FIELDS, Holds
from limen.journal.export.kinds import Target, target_of

KEY_BYTES_MIN = 32
PSEUDONYM_DIGITS = 24  # 96 bits: no two people of one organisation meet
IPV4_KEPT, IPV6_KEPT = 24, 48

NOBODY = frozenset({"", "limen", "limen up", "journal", "control", "system"})
"""Actors that are Limen itself."""

_DROPPED = ("path", "reason", "inputs", "key", "actor_key")
_REF = re.compile(r'([A-Za-z]+)::"(.*)"', re.DOTALL)
_PEOPLE = frozenset({"User", "Person"})


def load_key(file: Path) -> Secret[bytes]:
    """Read a key file.

    Raises:
        Invalid: it cannot be read, or is shorter than `KEY_BYTES_MIN`.
    """
    try:
        key = file.read_bytes()
    except OSError as error:
        raise Invalid(
            f"--pseudonyms: {file} cannot be read: {error.strerror}.",
            remedy="Make one: `head -c 32 /dev/urandom > FILE`.",
        ) from error
    return check_key(key, f"--pseudonyms: {file}")


def check_key(key: bytes, what: str) -> Secret[bytes]:
    """Return a key that is long enough to keep people from trying keys. Raises Invalid."""
    if len(key) < KEY_BYTES_MIN:
        raise Invalid(
            f"{what} has {len(key)} bytes; a pseudonym key has {KEY_BYTES_MIN} random ones or more.",
            remedy="Make one: `head -c 32 /dev/urandom > FILE`.",
        )
    return Secret(key)


class Pseudonyms:
    """Takes the people out of exported fields."""

    def __init__(self, key: Secret[bytes]) -> None:
        self._key = key.reveal()

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields of a row in which nobody is named (law X3)."""
        shown = {name: value for name, value in fields.items() if name not in _DROPPED}
        if shown.get("subject"):
            shown["subject"] = self.ref(str(shown["subject"]))
        if "actor" in shown:
            shown["actor"] = self.person(str(shown["actor"]))
        if shown.get("session"):
            shown["session"] = self.session(str(shown["session"]))
        if shown.get("ip"):
            shown["ip"] = truncate(str(shown["ip"]))
        if "resource" in shown:
            shown["resource"] = self.ref(str(shown["resource"]))
        if shown.get("target"):
            shown["target"] = self._target(str(shown.get("kind", "")), str(shown["target"]))
        if isinstance(shown.get("data"), Mapping):
            shown["data"] = self._data(shown["data"])
        return shown

    def person(self, name: str) -> str:
        """Return the pseudonym of a person, by name or reference; Limen's own parts keep their names."""
        found = _REF.fullmatch(name)
        plain = found[2] if found else name
        return plain if plain in NOBODY else f"p-{self._digits('person', plain)}"

    def session(self, session: str) -> str:
        """Return the pseudonym of a session."""
        return f"s-{self._digits('session', session)}"

    def ref(self, text: str) -> str:
        """Return a reference that names no person: of other things, as it is."""
        found = _REF.fullmatch(text)
        if found is not None:
            return f'{found[1]}::"{self.person(text)}"' if found[1] in _PEOPLE else text
        return self.person(text)

    def _digits(self, kind: str, name: str) -> str:
        content = f"{kind}\0{name}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, content, "sha256").hex()[:PSEUDONYM_DIGITS]

    def _target(self, kind: str, target: str) -> str:
        match target_of(kind):
            case Target.SESSION:
                return self.session(target)
            case Target.THING:
                return target
        return self.ref(target)

    def _data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: shown for name, value in data.items() if (shown := self._member(name, value)) is not None
        }

    def _member(self, name: str, value: Any) -> Any:
        """Return a member of an event's data; None for what cannot be told without naming somebody."""
        holds = DATA_FIELDS.get(name, Holds.TYPED)
        if holds is Holds.FACT:
            return value
        rename = {
            Holds.PERSON: self.person,
            Holds.REF: self.ref,
            Holds.GRANTEE: self._grantee,
            Holds.SESSION: self.session,
            Holds.IP: truncate,
        }.get(holds)
        return rename(value) if rename is not None and isinstance(value, str) else None

    def _grantee(self, text: str) -> str:
        word, colon, name = text.partition(":")
        return text if colon and word in ("group", "workload") else f"user:{self.person(name)}"


def truncate(address: str) -> str:
    """Return the network of an address: its first /24 or /48; empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    kept = IPV4_KEPT if parsed.version == 4 else IPV6_KEPT
    return str(
        ipaddress.ip_network(f"{parsed.compressed.partition('%')[0]}/{kept}", strict=False).network_address
    )
