"""Debian's `mod_auth_openidc` guards a page of Apache, and people sign in to it through Limen."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from oauth_rig import NetBrowser, OauthRig
from oauth_world import events

from limen.store import directory

MODULES = Path("/usr/lib/apache2/modules")
APACHE = shutil.which("apache2") or "/usr/sbin/apache2"
BUILT = ("mpm_event", "authz_core", "authn_core", "authz_user", "dir", "mime", "headers", "auth_openidc")
CONFIG = """
ServerRoot {root}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {root}/pid
Mutex file:{root}
ErrorLog {root}/error.log
LogLevel warn
{user}
{modules}
TypesConfig /dev/null
DocumentRoot {root}/www
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID apache
OIDCClientSecret {secret}
OIDCRedirectURI {here}/cb
OIDCCryptoPassphrase only-for-this-test
OIDCScope "openid profile email groups"
OIDCPKCEMethod S256
OIDCCABundlePath {ca}
OIDCRemoteUserClaim preferred_username
OIDCInfoHook iat access_token refresh_token userinfo id_token
OIDCDefaultLoggedOutURL {here}/bye.txt
<Location />
  AuthType openid-connect
  Require claim groups:staff
  Header set x-person "expr=%{{REMOTE_USER}}"
</Location>
<Location /cb>
  AuthType openid-connect
  Require valid-user
</Location>
<Location /bye.txt>
  AuthType none
  Require all granted
</Location>
"""
LIMEN_YAML = """
domain: limen.localhost
clients:
  apache:
    allow: [group:staff]
    oidc:
      redirect_uris: ["{here}/cb"]
      post_logout_redirect_uris: ["{here}/bye.txt"]
      auth: secret
      secret: other-new
      frontchannel_logout_uri: "{here}/cb?logout=get"
      backchannel_logout_uri: "{here}/cb?logout=backchannel"
"""


@contextmanager
def apache(folder: Path, config: str, port: int) -> Iterator[None]:
    """Run Apache on a configuration of its own."""
    (folder / "www").mkdir()
    (folder / "www" / "page.txt").write_text("behind the door\n")
    (folder / "www" / "bye.txt").write_text("bye\n")
    (folder / "httpd.conf").write_text(config)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o644)  # as root, Apache serves as another user
    command = [APACHE, "-d", str(folder), "-f", str(folder / "httpd.conf"), "-DFOREGROUND"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    assert process.stdout is not None
                    raise AssertionError(process.stdout.read()) from None
                time.sleep(0.05)
        yield
    finally:
        print((folder / "error.log").read_text())  # shown where a test fails
        process.terminate()
        process.wait(10)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[OauthRig, str]]:
    if not Path(APACHE).exists() or not (MODULES / "mod_auth_openidc.so").exists():
        pytest.skip("Debian's apache2-bin and libapache2-mod-auth-openidc are needed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    here = f"http://127.0.0.1:{port}"
    built = {path.name for path in MODULES.glob("mod_*.so")}
    loaded = [name for name in BUILT if f"mod_{name}.so" in built]
    with OauthRig(tmp_path, LIMEN_YAML.format(here=here)) as rig, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(rig.ca, folder / "ca.pem")
        config = CONFIG.format(
            root=folder,
            port=port,
            here=here,
            issuer=rig.issuer,
            ca=folder / "ca.pem",
            secret=rig.world.secrets["other-new"],
            modules="\n".join(f"LoadModule {one}_module {MODULES}/mod_{one}.so" for one in loaded),
            user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
        )
        with apache(folder, config, port):
            yield rig, here


def open_page(browser: NetBrowser, url: str) -> httpx.Response:
    """Open a page of the site; go to Limen and come back if it sends there."""
    page = browser.http.get(url)
    for _ in range(6):
        if page.is_redirect:
            page = browser.http.get(urljoin(str(page.url), page.headers["location"]))
        elif 'name="username"' in page.text:
            page = browser.sign_in("ada", str(page.url))
        elif "http-equiv" in page.text:
            start = page.text.index("0;url=") + len("0;url=")
            page = browser.http.get(page.text[start : page.text.index('"', start)].replace("&amp;", "&"))
        else:
            break
    return page


def test_mod_auth_openidc_signs_people_in_and_out(site: tuple[OauthRig, str]) -> None:
    rig, here = site
    browser = rig.browser()
    page = open_page(browser, f"{here}/page.txt")
    assert page.text == "behind the door\n", page.text[:2000]
    assert page.headers["x-person"] == "ada"
    told = browser.http.get(f"{here}/cb?info=json").json()
    assert told["userinfo"]["email"] == "ada@limen.localhost" and told["id_token"]["aud"] == "apache"
    renewed = browser.http.get(f"{here}/cb?info=json&access_token_refresh_interval=0").json()
    assert renewed["refresh_token"] != told["refresh_token"]  # it rotates

    # who leaves is out there too: by the logout token, and by policy at the next attempt
    with rig.world.store.transaction("test", "leaves") as tx:
        directory.remove_member(tx, "staff", "ada")
    rig.world.round()
    untold = [event.data["why"] for event in events(rig.world, "client.logout_untold")]
    assert rig.world.oauth.backchannel.next_at() is None and untold == []  # the logout token was taken
    gone = browser.http.get(f"{here}/page.txt")
    assert gone.is_redirect and gone.headers["location"].startswith(rig.issuer)
    denied = open_page(browser, f"{here}/page.txt")
    assert denied.status_code == 403 and "This door stays closed" in denied.text

    # and back in, then out by the app's own door
    with rig.world.store.transaction("test", "comes back") as tx:
        directory.add_member(tx, "staff", "ada")
    assert open_page(browser, f"{here}/page.txt").text == "behind the door\n"
    out = browser.http.get(f"{here}/cb?logout={here}/bye.txt")
    assert out.headers["location"].startswith(f"{rig.issuer}/oauth2/logout?")
    page = browser.get(out.headers["location"])
    assert "You are signed out" in page.text and f"{here}/bye.txt" in page.text
    assert f"{here}/cb?logout=get" in page.text  # the front channel
    assert open_page(rig.browser(), f"{here}/bye.txt").text == "bye\n"
    again = browser.http.get(f"{here}/page.txt")
    assert again.is_redirect
    assert browser.http.get(again.headers["location"]).headers["location"].startswith("/login")
