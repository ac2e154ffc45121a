"""`ldap:` of `limen.yaml`: directories that are read."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from limen.core.identity_config import LdapConfig
from limen.engine import rules
from limen.engine.forms import Duration, Flag, Key, MapOf, Number, Rule, Table, Text
from limen.engine.limen_oidc_keys import PEOPLE, read_people
from limen.engine.named_files import NamedFiles
from limen.engine.read_forms import Path

EVERY_MIN_S = 60.0
_ATTRIBUTE = r"[A-Za-z][A-Za-z0-9-]{0,63}"  # RFC 4512 1.4, a keystring


def _address(text: str) -> str:
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise ValueError("It holds a space or a control character.")
    parts = urlsplit(text)
    if parts.scheme not in ("ldaps", "ldap") or not parts.hostname:
        raise ValueError("It starts with ldaps:// or ldap://.")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError("Leave out user, path, query and fragment; `base` says where to look.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (636 if parts.scheme == 'ldaps' else 389)}"


def _dn(text: str) -> str:
    if not re.fullmatch(r"[^\x00-\x1f\x7f\u2028\u2029]{1,1024}", text) or "=" not in text.partition(",")[0]:
        raise ValueError
    return text


def _filter(text: str) -> str:
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth != 0 or not re.fullmatch(r"\([^\x00-\x1f\x7f]{2,2048}\)", text):
        raise ValueError("It stands in parentheses, and each that is opened is closed (RFC 4515).")
    return text


def _attribute(text: str) -> str:
    if not re.fullmatch(_ATTRIBUTE, text):
        raise ValueError
    return text


ADDRESS = Rule("an address, such as ldaps://ldap.corp.example", _address, "^ldaps?://")
DN = Rule('a distinguished name, such as "dc=corp,dc=example"', _dn, "=")
BIND = Rule(
    'a distinguished name, or a user name such as "reader@corp.example"',
    lambda text: text if re.fullmatch(r"[^\s=,@]{1,64}@[A-Za-z0-9.-]{1,190}", text) else _dn(text),
    "[=@]",
)
FILTER = Rule('a search filter, such as "(objectClass=person)"', _filter, r"^\(.+\)$")
ATTRIBUTE = Rule("an attribute of the directory, such as uid", _attribute, f"^{_ATTRIBUTE}$")

_PEOPLE = {key: PEOPLE[key] for key in PEOPLE if key != "groups_from"}
_OWN: Mapping[str, Key] = {
    "url": Key(Text(ADDRESS), "Its address; ldap:// needs `start_tls`, or this machine.", required=True),
    "base": Key(Text(DN), "Where people, and groups, are looked for.", required=True),
    "groups_base": Key(Text(DN), "Where groups are looked for.", "`base`"),
    "bind_dn": Key(
        Text(BIND), "Who reads it; Active Directory takes user@domain.", "none: read without a name"
    ),
    "bind_secret": Key(Text(rules.SECRET_NAME), "The stored secret of `bind_dn`.", "none"),
    "start_tls": Key(Flag(), "Begin TLS on ldap:// before anything is said.", "false"),
    "ca": Key(
        Text(rules.PEM_FILE), "Certificates that may sign its own, a file of the bundle.", "the system's"
    ),
    "people_filter": Key(Text(FILTER), "Which entries are people.", "(objectClass=inetOrgPerson)"),
    "groups_filter": Key(
        Text(FILTER), "Which entries are groups.", "(|(objectClass=groupOfNames)(objectClass=group))"
    ),
    "username": Key(Text(ATTRIBUTE), "What usernames are made of. Active Directory: sAMAccountName.", "uid"),
    "display_name": Key(Text(ATTRIBUTE), "What people are called.", "cn"),
    "email": Key(Text(ATTRIBUTE), "Their e-mail address.", "mail"),
    "group_name": Key(Text(ATTRIBUTE), "What groups are called.", "cn"),
    "stable_id": Key(
        Text(ATTRIBUTE),
        "What an entry keeps when it is renamed or moved. Active Directory: objectGUID.",
        "entryUUID",
    ),
    "attributes": Key(
        MapOf(rules.ATTRIBUTE, Text(ATTRIBUTE)), "Attributes of people, each with the directory's.", "none"
    ),
    "member_of": Key(
        Text(ATTRIBUTE),
        "The attribute of people and groups that lists the groups they are in, such as memberOf.",
        "none: groups list their members",
    ),
    "every": Key(Duration(), "How often it is read; at least a minute.", "15m"),
    "suspend_max_percent": Key(
        Number(0, 100),
        "When more of its people than this would be suspended at once, nothing is changed, and it is said.",
        "10",
    ),
}

LDAP: Mapping[str, Key] = {
    "ldap": Key(
        MapOf(rules.NAME, Table({**_OWN, **_PEOPLE})),
        "LDAP directories and Active Directory: people and groups are read from them, by name.",
        "none",
    )
}


def read_ldap(tree: Mapping[str, Any], named: NamedFiles) -> tuple[LdapConfig, ...]:
    """Return the directories."""
    return tuple(_directory(name, entry, named) for name, entry in tree.items())


def _directory(name: str, tree: Mapping[str, Any], named: NamedFiles) -> LdapConfig:
    path: Path = ("ldap", name)
    _check(tree, path, named)
    given = {key: tree[key] for key in _OWN if key in tree and key not in ("ca", "every")}
    return LdapConfig(
        name=name,
        ca_pem=named.pem(tree.get("ca"), (*path, "ca")),
        every_s=tree.get("every", 900.0),
        people=read_people(tree, path, named),
        **{"url": "", "base": "", **given},
    )


def _check(tree: Mapping[str, Any], path: Path, named: NamedFiles) -> None:
    url, bare = tree.get("url", ""), not tree.get("start_tls", False)
    if url.startswith("ldap://") and bare and not is_loopback(url):
        said = "Write ldaps://, or `start_tls: true`: names and the password would cross the network bare."
        named.log.wrong((*path, "url"), "`url` is not protected by TLS.", said)
    if url.startswith("ldaps://") and not bare:
        named.log.wrong((*path, "start_tls"), "ldaps:// has TLS from the start.", "Remove `start_tls`.")
    if ("bind_dn" in tree) != ("bind_secret" in tree):
        said = "A name without a password binds as nobody (RFC 4513 section 5.1.2): give both, or neither."
        named.log.wrong(path, "`bind_dn` and `bind_secret` go together.", said)
    if tree.get("every", EVERY_MIN_S) < EVERY_MIN_S:
        named.log.wrong((*path, "every"), "`every` is less than a minute.", "Write 15m.")


def is_loopback(url: str) -> bool:
    """Return whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
