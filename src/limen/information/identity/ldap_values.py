"""What a directory says: people, the groups that each is in, and what could not be read."""

from collections.abc import Mapping

import msgspec

from limen.core.ids import Instant


class DirectoryPerson(msgspec.Struct, frozen=True):
    """One entry that is a person.

    Attributes:
        subject: what the entry keeps for ever (`entryUUID`, `objectGUID`).
        username: as the directory writes it.
        groups: names of the groups that they are in, directly or through others, sorted.
        claims: further attributes that were asked for, by the directory's names; several values are a list.
        disabled: the attribute that says that the account is off; empty when none does.
        ends_at: when the directory lets it expire.
    """

    subject: str
    dn: str
    username: str
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    claims: Mapping[str, str | list[str]] = {}
    disabled: str = ""
    ends_at: Instant | None = None


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something that one entry, or one person, could not be taken for.

    Attributes:
        about: a distinguished name, or a username.
        subject: the entry's stable id, where it has one: that person is left as they are.
    """

    about: str
    why: str
    cure: str
    subject: str = ""


class DirectoryRead(msgspec.Struct, frozen=True):
    """All that a directory lists, read to its end.

    Attributes:
        groups: how many groups there are.
        referrals: parts of the directory that other servers have; they were not read.
    """

    people: tuple[DirectoryPerson, ...]
    groups: int = 0
    referrals: int = 0
    problems: tuple[Problem, ...] = ()
