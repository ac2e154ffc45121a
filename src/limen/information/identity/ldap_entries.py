"""Entries of a directory into people and their groups. No I/O.

Laws:
    N1 closed. Somebody is in a group that holds a group that they are in, however deep; circles are harmless.
    N2 unambiguous. A name that two groups have is nobody's group, a stable id of two entries is nobody's.
    N3 kept. An entry with a stable id that cannot be read is a problem, not an absence.
"""

import struct
import unicodedata
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from limen.core.errors import Invalid
from limen.core.identity_config import LdapConfig
from limen.core.ids import Instant
from limen.information.identity.ldap_names import Name, parse_dn
from limen.information.identity.ldap_values import DirectoryPerson, DirectoryRead, Problem

Entry = tuple[str, Mapping[str, Sequence[bytes]]]
"""A distinguished name, and the values of each attribute; attributes in lower case."""

TEXT_MAX = 1_024  # characters of one value
VALUES_MAX = 1_000  # of one attribute that becomes a claim
_DAY_S = 86_400.0
_FILETIME_EPOCH_S = 11_644_473_600.0  # 1601 to 1970
_FILETIME_NEVER = frozenset({0, 0x7FFF_FFFF_FFFF_FFFF})  # MS-ADA1 2.3, accountExpires

MEMBERS = ("member", "uniquemember")  # RFC 4519 2.17, 2.40
MEMBER_NAMES = "memberuid"  # RFC 2307 2.3: usernames


def _is_set(bit: int) -> Callable[[str], bool]:
    return lambda value: value.lstrip("-").isdigit() and bool(int(value) & bit)


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "1", "yes")


DISABLED: Mapping[str, Callable[[str], bool]] = {
    "useraccountcontrol": _is_set(0x2),  # ADS_UF_ACCOUNTDISABLE, MS-ADTS 2.2.16
    "nsaccountlock": _is_true,  # 389 Directory Server, FreeIPA
    "pwdaccountlockedtime": lambda value: value.startswith(
        "000001010000"
    ),  # for good: draft-behera-ldap-ppolicy 5.3.3
    "logindisabled": _is_true,  # eDirectory
}
"""Attributes that say that an account is off, and how. A lock after wrong passwords is none."""


def _filetime(value: str) -> Instant | None:
    ticks = int(value)
    return None if ticks in _FILETIME_NEVER else ticks / 1e7 - _FILETIME_EPOCH_S


def _days(value: str) -> Instant | None:
    return int(value) * _DAY_S if int(value) > 0 else None  # RFC 2307 2.3; shadow(5)


ENDS: Mapping[str, Callable[[str], Instant | None]] = {"accountexpires": _filetime, "shadowexpire": _days}
"""Attributes that say when an account expires."""


def wanted_attributes(config: LdapConfig) -> tuple[list[str], list[str]]:
    """Return what to ask of people, and of groups."""
    rules = [rule.claim for rule in config.people.rules]
    marks = [*DISABLED, *ENDS]
    own = [config.username, config.display_name, config.email, config.stable_id, config.member_of]
    people = [*own, *config.attributes.values(), *rules, *marks]
    groups = [config.group_name, config.member_of, *MEMBERS, MEMBER_NAMES]
    return _distinct(people), _distinct(groups)


def resolve(
    config: LdapConfig, people: Iterable[Entry], groups: Iterable[Entry], *, referrals: int = 0
) -> DirectoryRead:
    """Return who there is, and the groups of each."""
    problems: list[Problem] = []
    tree = _Groups(config, groups, problems)
    found = [one for entry in people if (one := _person(config, entry, tree, problems)) is not None]
    times = Counter(one.subject for one in found)
    remedy = "Name an attribute that differs: `stable_id`."
    for one in found:
        if times[one.subject] > 1:
            said = f"{times[one.subject]} entries have the same {config.stable_id}."
            problems.append(Problem(one.dn, said, remedy, one.subject))
    alone = tuple(one for one in found if times[one.subject] == 1)
    return DirectoryRead(alone, tree.count, referrals, tuple(sorted(problems)))


class _Groups:
    """The groups of a directory: their names, and which are in which."""

    def __init__(self, config: LdapConfig, entries: Iterable[Entry], problems: list[Problem]) -> None:
        self._names: dict[Name, str] = {}
        self._above: dict[Name, set[Name]] = defaultdict(set)  # of people and groups, by name
        self._by_username: dict[str, set[Name]] = defaultdict(set)
        self._reach: dict[Name, frozenset[Name]] = {}
        self._parsed: dict[bytes, Name | None] = {}
        self._member_of = config.member_of.lower()
        seen: dict[str, list[str]] = defaultdict(list)
        for dn, values in entries:
            here = _read_dn(dn)
            title = unicodedata.normalize("NFC", _first(values, config.group_name))
            if here is None or not title:
                said = f"The group has no {config.group_name}."
                problems.append(Problem(dn, said, "Give it one, or narrow `groups_filter`."))
                continue
            seen[title].append(dn)
            self._names[here] = title
            self._add(here, values)
        self.count = len(self._names)
        self._ambiguous = {title for title, places in seen.items() if len(places) > 1}
        for title in self._ambiguous:
            places = sorted(seen[title])
            said = f"{len(places)} groups are called {title!r}, so nobody gets it: {'; '.join(places)[:300]}."
            remedy = "Rename one, or set `groups_base` above the right one."
            problems.append(Problem(places[0], said, remedy))

    def of(self, dn: Name, username: str, values: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
        """Return the names of all groups that an entry is in."""
        direct = set(self._above.get(dn, ())) | self._by_username.get(username.lower(), set())
        if self._member_of:
            direct |= {
                one for raw in values.get(self._member_of, ()) if (one := self._dn(raw)) in self._names
            }
        reached: set[Name] = set()
        for one in direct:
            reached |= self._reached(one)
        names = {self._names[one] for one in reached if one in self._names}
        return tuple(sorted(names - self._ambiguous))

    def _add(self, here: Name, values: Mapping[str, Sequence[bytes]]) -> None:
        if self._member_of:
            self._above[here] |= {up for raw in values.get(self._member_of, ()) if (up := self._dn(raw))}
            return
        for attribute in MEMBERS:
            for raw in values.get(attribute, ()):
                member = self._dn(raw)
                if member is not None:
                    self._above[member].add(here)
        for raw in values.get(MEMBER_NAMES, ()):
            self._by_username[_text(raw).lower()].add(here)

    def _dn(self, raw: bytes) -> Name | None:
        if raw not in self._parsed:
            self._parsed[raw] = _read_dn(_text(raw))
        return self._parsed[raw]

    def _reached(self, start: Name) -> frozenset[Name]:
        """Return a group and all above it."""
        known = self._reach.get(start)
        if known is None:
            seen, todo = {start}, [start]
            while todo:
                for above in self._above.get(todo.pop(), ()):
                    if above not in seen:
                        seen.add(above)
                        todo.append(above)
            known = self._reach[start] = frozenset(seen)
        return known


def _person(
    config: LdapConfig, entry: Entry, groups: _Groups, problems: list[Problem]
) -> DirectoryPerson | None:
    dn, values = entry
    subject = stable_id(config.stable_id, values.get(config.stable_id.lower(), ()))
    username, name = _first(values, config.username), _read_dn(dn)
    if not subject:
        remedy = "Let the reader see it, or set `stable_id` (Active Directory: objectGUID)."
        problems.append(Problem(dn, f"The entry has no single {config.stable_id}.", remedy))
        return None
    if not username or name is None:
        remedy = "Give it one, or narrow `people_filter`."
        problems.append(Problem(dn, f"The entry has no {config.username}.", remedy, subject))
        return None
    asked = {*config.attributes.values(), *(rule.claim for rule in config.people.rules)}
    return DirectoryPerson(
        subject=subject,
        dn=dn,
        username=username,
        name=_first(values, config.display_name),
        email=_first(values, config.email),
        groups=groups.of(name, username, values),
        claims={one: claim for one in sorted(asked) if (claim := _claim(values.get(one.lower(), ())))},
        disabled=next((mark for mark, is_off in DISABLED.items() if is_off(_first(values, mark))), ""),
        ends_at=_ends_at(values),
    )


def stable_id(attribute: str, values: Sequence[bytes]) -> str:
    """Return an entry's stable id as text; empty unless it has exactly one.

    Active Directory's objectGUID is 16 bytes, written as Microsoft's tools write it.
    """
    if len(values) != 1 or not values[0]:
        return ""
    raw = values[0]
    if attribute.lower() == "objectguid" and len(raw) == 16:
        return str(uuid.UUID(bytes_le=raw))
    if attribute.lower() == "objectsid" and len(raw) >= 8:
        return _sid(raw)
    text = _text(raw).strip()
    return text if text and len(text) <= 255 and text.isprintable() else raw.hex()[:255]


def _sid(raw: bytes) -> str:
    """Return a security identifier as text (MS-DTYP 2.4.2.2)."""
    count = raw[1]
    if len(raw) != 8 + 4 * count:
        return raw.hex()[:255]
    parts = struct.unpack(f"<{count}I", raw[8:])
    return "-".join(("S", str(raw[0]), str(int.from_bytes(raw[2:8], "big")), *map(str, parts)))


def _ends_at(values: Mapping[str, Sequence[bytes]]) -> Instant | None:
    for attribute, read in ENDS.items():
        text = _first(values, attribute)
        if text.isdigit():
            return read(text)
    return None


def _claim(values: Sequence[bytes]) -> str | list[str]:
    texts = [_text(raw)[:TEXT_MAX] for raw in values[:VALUES_MAX]]
    return texts[0] if len(texts) == 1 else texts


def _first(values: Mapping[str, Sequence[bytes]], attribute: str) -> str:
    """Return the first value of an attribute; several are in no order, so the least is taken."""
    found = values.get(attribute.lower(), ())
    return min((_text(raw).strip() for raw in found), default="")[:TEXT_MAX]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _read_dn(text: str) -> Name | None:
    try:
        return parse_dn(text)
    except Invalid:
        return None


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
