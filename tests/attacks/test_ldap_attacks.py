"""What a directory, or whoever stands in its way, tries."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from limen.core.errors import BundleRefused, Invalid, LimenError, Unavailable
from limen.core.identity_config import LdapConfig
from limen.core.secret import Secret
from limen.engine.bundle import parse_bundle
from limen.information.identity import ldap_entries
from limen.information.identity.ldap import read_directory
from limen.information.identity.ldap_entries import resolve

PASSWORD = "orchid-reader-9"
NO_TLS = bytes.fromhex("300c02010178070a010204000400")  # extendedResp: protocolError (RFC 4511 4.14.2)
FINE = bytes.fromhex("300c02010178070a010004000400")  # success, and then no TLS


class Stranger:
    """Whoever answers on the directory's port, and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.heard = b""
        self.url = f"ldap://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(5)
                self.heard += connection.recv(4096)
                connection.sendall(self._answer)
                if self._answer not in (NO_TLS, FINE):
                    return
                try:
                    while more := connection.recv(4096):
                        self.heard += more
                        connection.sendall(b"rubbish" * 10)
                except OSError:
                    pass

    def done(self) -> bytes:
        """Return all that was heard."""
        self._thread.join(10)
        return self.heard


@contextmanager
def stranger(answer: bytes) -> Iterator[Stranger]:
    """Listen once."""
    one = Stranger(answer)
    yield one
    one.done()


@pytest.mark.parametrize("answer", [NO_TLS, FINE, b"", b"\x30\x84\xff\xff\xff\xff"])
def test_a_directory_without_tls_never_hears_the_password(answer: bytes) -> None:
    with stranger(answer) as one:
        config = LdapConfig("corp", one.url, "dc=corp", "cn=limen", "x", start_tls=True)
        with pytest.raises(Unavailable):
            read_directory(config, Secret(PASSWORD))
        assert PASSWORD.encode() not in one.done()


def test_an_empty_password_does_not_bind_as_nobody() -> None:
    config = LdapConfig("corp", "ldap://127.0.0.1:1", "dc=corp", "cn=limen", "x")
    for password in (None, Secret("")):
        with pytest.raises(Invalid, match="binds as nobody"):
            read_directory(config, password)


def test_an_error_never_holds_the_password() -> None:
    config = LdapConfig("corp", "ldap://127.0.0.1:1", "dc=corp", "cn=limen", "x")
    with pytest.raises(LimenError) as refused:
        read_directory(config, Secret(PASSWORD))
    assert PASSWORD not in f"{refused.value.message} {refused.value.remedy} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("url: ldap://ldap.corp.example", "not protected by TLS"),
        ("url: ldap://127.0.0.1.evil.example", "not protected by TLS"),
        ("url: http://ldap.corp.example", "starts with ldaps://"),
        ("url: ldaps://ldap.corp.example\n    start_tls: true", "TLS from the start"),
        ("url: ldaps://ldap.corp.example\n    bind_dn: cn=x,dc=corp", "go together"),
        ("url: ldaps://ldap.corp.example\n    people_filter: (uid=*", "people_filter"),
        ("url: ldaps://ldap.corp.example\n    people_filter: (uid=*))(&(a=b)", "people_filter"),
        ("url: ldaps://ldap.corp.example\n    username: 'uid)(x=*'", "username"),
        ("url: ldaps://ldap.corp.example\n    every: 1s", "less than a minute"),
    ],
)
def test_a_bundle_whose_directory_is_unsafe_is_refused(lines: str, said: str) -> None:
    text = f"domain: corp.example\nldap:\n  corp:\n    base: dc=corp,dc=example\n    {lines}\n"
    with pytest.raises(BundleRefused) as refused:
        parse_bundle({"limen.yaml": text})
    assert any(said in f"{one.message} {one.remedy}" for one in refused.value.findings)


def test_a_bundle_with_a_directory_is_read() -> None:
    text = (
        "domain: corp.example\nldap:\n  corp:\n    url: ldaps://ldap.corp.example\n    base: dc=corp\n"
        "    bind_dn: cn=limen,dc=corp\n    bind_secret: corp-ldap\n    every: 5m\n"
        "    attributes: {department: departmentNumber}\n    suspend_max_percent: 5\n"
    )
    config = parse_bundle({"limen.yaml": text}).catalogue.sources.ldap[0]
    assert (config.url, config.every_s, config.source) == ("ldaps://ldap.corp.example:636", 300, "ldap:corp")
    assert (config.attributes, config.suspend_max_percent) == ({"department": "departmentNumber"}, 5)


def test_a_group_of_ones_own_making_does_not_pass_for_another() -> None:
    config = LdapConfig("corp", "", "dc=corp", stable_id="id")
    ada = ("uid=ada,dc=corp", {"uid": [b"ada"], "id": [b"1"]})
    look_alikes = [
        (r"cn=finance\,dc=corp,ou=own,dc=corp", {"cn": [b"finance"], "member": [b"uid=ada,dc=corp"]}),
        ("cn=finance,dc=corp", {"cn": [b"finance"], "member": []}),
    ]
    assert resolve(config, [ada], look_alikes).people[0].groups == ()


def test_hostile_entries_cost_little_and_raise_nothing() -> None:
    config = LdapConfig("corp", "", "dc=corp", stable_id="id", attributes={"office": "l"})
    many = [b"x" * 100_000] * (ldap_entries.VALUES_MAX + 1)
    entry = ("uid=ada,dc=corp", {"uid": [b"ada\xff"], "id": [b"1"], "l": many, "cn": [b"\x00\x1b[31m"]})
    broken = [("no name", {"cn": [b"g"]}), ("cn=g,dc=corp", {"cn": [b"g"], "member": [b"\\", b"\xff" * 9]})]
    found = resolve(config, [entry], broken).people[0]
    assert all(len(one) <= ldap_entries.TEXT_MAX for one in found.claims["l"])
    assert len(found.claims["l"]) == ldap_entries.VALUES_MAX
