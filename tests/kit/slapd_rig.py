"""Debian's slapd on a free port of loopback, with a folder of its own, filled by slapadd."""

import os
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BASE = "dc=corp,dc=example"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "directory-admin"
READER, READER_PASSWORD = f"cn=limen,{BASE}", "orchid-reader-9"
SLAPD = shutil.which("slapd") or "/usr/sbin/slapd"
ROOT_LDIF = f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: corp
o: Corp

dn: {READER}
objectClass: simpleSecurityObject
objectClass: organizationalRole
cn: limen
userPassword: {READER_PASSWORD}

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

"""


def demand_slapd() -> None:
    """Skip where there is no slapd."""
    if not os.access(SLAPD, os.X_OK):
        pytest.skip("slapd is not installed: scripts/system-packages")


def person_ldif(uid: str, name: str = "", **more: str) -> str:
    """Return one person as LDIF."""
    lines = [f"dn: uid={uid},ou=people,{BASE}", "objectClass: inetOrgPerson", "objectClass: extensibleObject"]
    fields = {"uid": uid, "cn": name or uid.title(), "sn": uid, "mail": f"{uid}@corp.example", **more}
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in fields.items() if value)]) + "\n\n"


def group_ldif(name: str, *members: str, rdn: str = "") -> str:
    """Return one groupOfNames as LDIF; members are whole names."""
    lines = [f"dn: {rdn or f'cn={name}'},ou=groups,{BASE}", "objectClass: groupOfNames", f"cn: {name}"]
    return "\n".join([*lines, *(f"member: {one}" for one in members)]) + "\n\n"


def person_dn(uid: str) -> str:
    """Return a person's name."""
    return f"uid={uid},ou=people,{BASE}"


def group_dn(name: str) -> str:
    """Return a group's name."""
    return f"cn={name},ou=groups,{BASE}"


class Slapd:
    """One server. `size_limit`: entries that a search of the reader returns at most."""

    def __init__(
        self, folder: Path, ldif: str, *, tls: bool = False, size_limit: str = "unlimited", more: str = ""
    ) -> None:
        demand_slapd()
        folder.mkdir(exist_ok=True)
        self._folder = folder
        (folder / "db").mkdir()
        self.ca_pem = _write_certificates(folder) if tls else None
        self._tls = tls
        self._port = _free_port()
        (folder / "slapd.conf").write_text(_config(folder, tls, size_limit) + more)
        (folder / "start.ldif").write_text(ROOT_LDIF + ldif)
        command = [SLAPD, "-Tadd", "-q", "-f", str(folder / "slapd.conf"), "-l", str(folder / "start.ldif")]
        subprocess.run(command, check=True, capture_output=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'ldaps' if self._tls else 'ldap'}://127.0.0.1:{self._port}"

    @property
    def plain_url(self) -> str:
        """Its address without TLS from the start; of a server with TLS it is another port."""
        return f"ldap://127.0.0.1:{self._port + (1 if self._tls else 0)}"

    def start(self) -> None:
        """Serve."""
        urls = f"{self.url} {self.plain_url}" if self._tls else self.url
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [SLAPD, "-d", "0", "-h", urls, "-f", str(self._folder / "slapd.conf")], stdout=log, stderr=log
            )
        until = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < until, "slapd does not listen"
                time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def change(self, ldif: str) -> None:
        """Apply changes in LDIF, as the directory's administrator."""
        command = ["ldapmodify", "-H", self.plain_url, "-x", "-D", ADMIN, "-w", ADMIN_PASSWORD]
        done = subprocess.run(command, input=ldif.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def remove(self, dn: str) -> None:
        """Remove an entry."""
        self.change(f"dn: {dn}\nchangetype: delete\n")

    def __enter__(self) -> Self:
        """Serve."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()


def _config(folder: Path, tls: bool, size_limit: str) -> str:
    schemas = ("core", "cosine", "inetorgperson", "nis")
    included = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in schemas)
    certificates = (
        f"TLSCertificateFile {folder}/server.pem\nTLSCertificateKeyFile {folder}/server.key\n" if tls else ""
    )
    return f"""{included}
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
argsfile {folder}/args
sizelimit unlimited
{certificates}
database mdb
maxsize 268435456
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw {ADMIN_PASSWORD}
directory {folder}/db
dbnosync
index objectClass,uid eq
limits dn.exact="{READER}" size={size_limit}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{READER}" read by * none
"""


def _write_certificates(folder: Path) -> str:
    """Write a server's certificate for 127.0.0.1; return that of its CA."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Directory CA")])
    now = datetime.now(UTC)

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )

    ca = build(ca_name, ca_key.public_key())
    ca_certificate = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        ca_key, hashes.SHA256()
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    host = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ldap.corp.example")])
    own = build(host, key.public_key()).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    (folder / "server.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return ca_certificate.public_bytes(serialization.Encoding.PEM).decode()


def _free_port() -> int:
    """Return a port that is free, and whose successor is."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
