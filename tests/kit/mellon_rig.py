"""Debian's Apache with mod_auth_mellon, as an app that speaks SAML: own folder, own port, loopback alone."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import saml_forger as forger
from saml_forger import Party

APACHE = "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
BINDING = "urn:oasis:names:tc:SAML:2.0:bindings"
START_S = 15.0

CONFIG = """
ServerName 127.0.0.1
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
LogLevel warn auth_mellon:info
Listen 127.0.0.1:{port}
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule rewrite_module {modules}/mod_rewrite.so
LoadModule auth_mellon_module {modules}/mod_auth_mellon.so
StartServers 1
MellonLockFile {folder}/mellon.lock
DocumentRoot {folder}/www
<Location />
  MellonEnable info
  MellonEndpointPath /mellon
  MellonSPMetadataFile {folder}/sp.xml
  MellonSPPrivateKeyFile {folder}/sp.key
  MellonSPCertFile {folder}/sp.pem
  MellonIdPMetadataFile {folder}/idp.xml
  MellonSetEnv "MAIL" "mail"
  MellonMergeEnvVars On ";"
</Location>
<Location /secret>
  MellonEnable auth
  AuthType Mellon
  Require valid-user
  Header always set X-Name-Id "%{{MELLON_NAME_ID}}e"
  Header always set X-Mail "%{{MELLON_MAIL}}e"
  Header always set X-Groups "%{{MELLON_groups}}e"
</Location>
"""


def find_mellon() -> str:
    """Return why mellon cannot be run here; empty when it can."""
    if not Path(APACHE).exists() or not (MODULES / "mod_auth_mellon.so").exists():
        return "apache2-bin and libapache2-mod-auth-mellon are not installed"
    return "" if shutil.which("xmlsec1") else "xmlsec1 is not installed"


class Mellon:
    """The app: its metadata before it runs, its pages while it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.party: Party = forger.party("mellon")
        self.metadata = f"""<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"
    entityID="{self.origin}/mellon/metadata">
  <md:SPSSODescriptor protocolSupportEnumeration="{forger.PROTOCOL}" AuthnRequestsSigned="true">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>
      <ds:X509Certificate>{self.party.body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleLogoutService Binding="{BINDING}:HTTP-Redirect" Location="{self.origin}/mellon/logout"/>
    <md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>
    <md:AssertionConsumerService index="0" isDefault="true" Binding="{BINDING}:HTTP-POST"
      Location="{self.origin}/mellon/postResponse"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>"""

    @contextmanager
    def run(self, idp_metadata: str) -> Iterator["Mellon"]:
        """Run it, trusting the provider of this metadata."""
        user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
        (self.folder / "www").mkdir()
        texts = {
            "sp.xml": self.metadata,
            "sp.key": self.party.private_pem,
            "sp.pem": self.party.certificate,
            "idp.xml": idp_metadata,
            "apache.conf": CONFIG.format(folder=self.folder, port=self.port, modules=MODULES, user=user),
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text)
        (self.folder / "www" / "secret").write_text("open")
        self.folder.chmod(0o755)
        command = [APACHE, "-f", str(self.folder / "apache.conf"), "-DFOREGROUND"]
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                self._await(process)
                yield self
            finally:
                os.killpg(process.pid, signal.SIGTERM)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert process.poll() is None, self.log()
            try:
                httpx.get(f"{self.origin}/", timeout=1)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.log())

    def log(self) -> str:
        """Return what it wrote."""
        found = self.folder / "error.log"
        return found.read_text() if found.exists() else "no log"


@contextmanager
def mellon_folder() -> Iterator[Path]:
    """A folder that Apache's own user can enter, too."""
    folder = Path(tempfile.mkdtemp(prefix="limen-mellon-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
