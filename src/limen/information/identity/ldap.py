"""Reading a directory over LDAP: verified TLS, pages, and all of it or nothing.

Laws:
    R1 read only. Nothing is ever written to a directory.
    R2 whole. A page that is missing, a limit of the server's, a range that breaks off: the read fails. Nobody
        is taken for gone because a server answered in part.
    R3 nowhere else. Referrals are counted, never followed: a password goes to the server that was named.

Sources: RFC 4511, RFC 2696 (pages), RFC 4513 3 and 5.1.2 (TLS, binding), MS-ADTS 3.1.1.3.1.3.3 (ranges).
"""

import contextlib
import re
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.connection import Connection
from ldap3.core.exceptions import (
    LDAPCertificateError,
    LDAPException,
    LDAPExceptionError,
    LDAPInvalidCredentialsResult,
    LDAPInvalidFilterError,
    LDAPNoSuchObjectResult,
    LDAPOperationResult,
)
from ldap3.core.server import Server
from ldap3.core.tls import Tls

from limen.core.errors import Invalid, LimenError, Unavailable
from limen.core.identity_config import LdapConfig
from limen.core.secret import Secret
from limen.information.identity.ldap_entries import Entry, resolve, wanted_attributes
from limen.information.identity.ldap_values import DirectoryRead

CONNECT_S = 10.0
ANSWER_S = 60  # for one page; ldap3 wants a whole number
READ_MAX_S = 900.0  # for all of it
PAGE = 500  # entries; Active Directory's MaxPageSize is 1,000
ENTRIES_MAX = 500_000
PAGED = "1.2.840.113556.1.4.319"  # RFC 2696
RANGE = ";range="

_Server: Any = Server  # without types
_Connection: Any = Connection
_NOISE = re.compile(r"""^[('"\s]+|[)'",\s]+$""")
"""What is left around the words of an error that ldap3 has put into tuples."""


class _Tls(Tls):
    """TLS whose certificate must hold, for the name that was dialled; ldap3's own asks for neither."""

    def __init__(self, host: str, ca_pem: str | None) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)  # type: ignore[no-untyped-call]
        self._host = host
        self._context = ssl.create_default_context(cadata=ca_pem)

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Begin TLS on a connection's socket; the handshake is part of it."""
        connection.socket = self._context.wrap_socket(connection.socket, server_hostname=self._host)


def read_directory(
    config: LdapConfig,
    password: Secret[str] | None,
    *,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[int], None] = lambda count: None,
) -> DirectoryRead:
    """Return all people of a directory with their groups.

    Raises:
        Unavailable: it does not answer, or not in full.
        Invalid: what the bundle says of it does not fit.
    """
    try:
        with _connect(config, password) as connection:
            reader = _Reader(connection, clock() + READ_MAX_S, clock, tell)
            people_attributes, group_attributes = wanted_attributes(config)
            base = config.groups_base or config.base
            groups = list(reader.search(base, config.groups_filter, group_attributes))
            people = list(reader.search(config.base, config.people_filter, people_attributes))
            return resolve(config, people, groups, referrals=reader.referrals)
    except LDAPException as error:
        raise _explain(config, error) from error
    except (OSError, ssl.SSLError) as error:
        raise _unreachable(config, str(error)) from error


def _connect(config: LdapConfig, password: Secret[str] | None) -> Any:
    parts = urlsplit(config.url)
    assert parts.hostname is not None
    if config.bind_dn and (password is None or not password.reveal()):
        raise Invalid(
            f"ldap.{config.name}: the password of bind_dn is empty, which binds as nobody (RFC 4513 5.1.2).",
            remedy=f"Store it: `limen secret set {config.bind_secret or 'NAME'}`.",
            code="LDAP_PASSWORD",
        )
    secure = parts.scheme == "ldaps"
    tls = _Tls(parts.hostname, config.ca_pem) if secure or config.start_tls else None
    server = _Server(
        parts.hostname,
        port=parts.port,
        use_ssl=secure,
        tls=tls,
        get_info=ldap3.NONE,
        connect_timeout=CONNECT_S,
        allowed_referral_hosts=[],
    )
    connection = _Connection(
        server,
        user=config.bind_dn or None,
        password=password.reveal() if password is not None and config.bind_dn else None,
        authentication=ldap3.SIMPLE if config.bind_dn else ldap3.ANONYMOUS,
        client_strategy=ldap3.SYNC,
        read_only=True,
        auto_referrals=False,
        auto_range=True,
        check_names=False,
        raise_exceptions=True,
        receive_timeout=ANSWER_S,
        auto_bind=ldap3.AUTO_BIND_NONE,
    )
    try:
        connection.open()
        if config.start_tls and not secure:
            connection.start_tls()  # before the bind: the password is never sent bare
            if not connection.tls_started:
                raise _unreachable(config, "StartTLS was not done")
        connection.bind()
    except BaseException:
        _drop(connection)
        raise
    return connection


def _drop(connection: Any) -> None:
    """Close the socket of a connection that came to nothing; ldap3 leaves it open."""
    if connection.socket is not None:
        with contextlib.suppress(OSError):
            connection.socket.close()


class _Reader:
    """Searches of one connection, page by page, within bounds of time and number."""

    def __init__(
        self, connection: Any, until: float, clock: Callable[[], float], tell: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._until = until
        self._clock = clock
        self._tell = tell
        self._count = 0
        self.referrals = 0

    def search(self, base: str, search: str, attributes: list[str]) -> Iterator[Entry]:
        """Yield every entry below `base` that fits a filter."""
        cookie: bytes | None = None
        while True:
            self._connection.search(
                base,
                search,
                search_scope=ldap3.SUBTREE,
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=attributes,
                paged_size=PAGE,
                paged_cookie=cookie,
            )
            result, response = self._connection.result, self._connection.response
            if result["result"] != 0:  # ldap3 does not raise for a referral
                raise _partial(f"the search below {base} was answered with {result['description']}")
            for one in response:
                if one["type"] == "searchResEntry":
                    yield self._entry(one)
                else:
                    self.referrals += 1
            self._tell(self._count)
            cookie = result.get("controls", {}).get(PAGED, {}).get("value", {}).get("cookie")
            if not cookie:
                return
            if self._clock() > self._until:
                raise _partial(f"it was not read to its end in {READ_MAX_S:g} s")

    def _entry(self, one: Any) -> Entry:
        self._count += 1
        if self._count > ENTRIES_MAX:
            raise _partial(f"it has more than {ENTRIES_MAX} entries")
        raw = one["raw_attributes"]
        if any(RANGE in name for name in raw):
            raise _partial(f"a range of values of {one['dn'][:120]} breaks off")
        return one["dn"], {name.lower().partition(";")[0]: values for name, values in raw.items()}


def _partial(what: str) -> Unavailable:
    return Unavailable(
        f"The directory was not read in full: {what}.",
        remedy="Nothing was changed. Narrow the filters, or raise the server's limits for the reader.",
        code="LDAP_PARTIAL",
    )


def _unreachable(config: LdapConfig, why: str) -> Unavailable:
    return Unavailable(
        f"ldap.{config.name}: {config.url} does not answer: {_NOISE.sub('', why)[:300]}.",
        remedy="Nothing was changed. Check `url`, the network, and `ca`.",
        code="LDAP_UNREACHABLE",
    )


def _explain(config: LdapConfig, error: LDAPException) -> LimenError:
    """Return what happened in words; ldap3's own never hold the password."""
    if isinstance(error, LDAPInvalidCredentialsResult):
        return Unavailable(
            f"ldap.{config.name}: the directory refuses {config.bind_dn or 'a reader without a name'}.",
            remedy=f"Store the password again: `limen secret set {config.bind_secret or 'NAME'}`.",
            code="LDAP_PASSWORD",
        )
    if isinstance(error, LDAPInvalidFilterError):
        return Invalid(
            f"ldap.{config.name}: a filter is not one: {str(error)[:200]}.",
            remedy="Write people_filter and groups_filter as RFC 4515 has them.",
            code="LDAP_FILTER",
        )
    if isinstance(error, LDAPNoSuchObjectResult):
        return Unavailable(
            f"ldap.{config.name}: there is nothing at {config.base}, or the reader may not see it.",
            remedy="Check `base`, `groups_base`, and the rights of `bind_dn`.",
            code="LDAP_BASE",
        )
    if isinstance(error, LDAPOperationResult):
        return _partial(f"it answered {error.description}: {str(error.message)[:200]}")
    if isinstance(error, LDAPCertificateError | LDAPExceptionError):
        return _unreachable(config, str(error))
    return _unreachable(config, type(error).__name__)
