"""Logging in and out: by a browser on this machine, or by a code on any other."""

import contextlib
import platform
import secrets
import ssl
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from limen.connect.folders import write_private
from limen.connect.https import Https
from limen.connect.loopback import Loopback
from limen.connect.network import Place, make_tls_context
from limen.connect.oauth import Account, Grant, OAuth, make_proof
from limen.connect.plain import plain
from limen.connect.profiles import Profile, Profiles, profile_name
from limen.connect.vault import Vault
from limen.core.errors import Invalid, LimenError, Refused
from limen.core.secret import Secret

Say = Callable[[str], None]
CA_MAX_BYTES = 1 << 20


class Client:
    """What is known on this machine, and the ways to the organisation."""

    def __init__(self, profiles: Profiles | None = None, vault: Vault | None = None) -> None:
        self.profiles = profiles or Profiles()
        self.vault = vault or Vault(self.profiles.folder)

    def https(self, place: Place, ca_file: Path | None) -> Https:
        """Return a way to the sign-in host, or to a service's host, that trusts what the profile trusts."""
        return Https(place, make_tls_context(ca_file, "http/1.1"))

    def ca_of(self, profile: Profile) -> Path | None:
        """Return the copy of the profile's own CA, None for the system's roots."""
        return self.profiles.ca_file(profile.place) if profile.ca_source else None

    def tunnel_context(self, profile: Profile) -> ssl.SSLContext:
        """Return the TLS of tunnels."""
        return make_tls_context(self.ca_of(profile), "h2")

    def oauth(self, profile: Profile) -> OAuth:
        """Return the sign-in of a profile."""
        return OAuth.discover(self.https(profile.place, self.ca_of(profile)))

    def token(self, profile: Profile) -> Secret[str]:
        """Return the profile's token.

        Raises:
            Refused: it is gone, or was open to others.
        """
        token = self.vault.load(profile.name, profile.kept)
        if token is None:
            raise Refused(
                "Your sign-in is not on this machine any more.",
                remedy=f"Run: {profile.login_command}",
                code="SIGNED_OUT",
            )
        return token


class LoginOptions(NamedTuple):
    """How to log in."""

    place: Place
    ca: Path | None = None
    device: bool = False
    browser: bool = True
    need: str = ""


def log_in(
    client: Client, options: LoginOptions, say: Say, open_browser: Callable[[str], bool] = webbrowser.open
) -> tuple[Profile, Account]:
    """Log in, keep the token, and return the profile.

    Raises:
        LimenError: it was refused, or the organisation cannot be reached.
    """
    ca_pem = None if options.ca is None else _read_ca(options.ca)
    oauth = OAuth.discover(client.https(options.place, options.ca))
    granted = _by_code(oauth, say) if options.device else _by_browser(oauth, say, open_browser, options)
    account = oauth.account(granted.token)
    if ca_pem is not None:
        write_private(client.profiles.ca_file(options.place), ca_pem)
    profile = Profile(
        auth_url=options.place.origin,
        person=plain(account.person, 128),
        expires_at=granted.expires_at,
        kept=client.vault.save(profile_name(options.place), granted.token),
        ca_source=None if options.ca is None else str(options.ca.absolute()),
    )
    client.profiles.save(profile)
    return profile, account


def log_out(client: Client, profile: Profile) -> LimenError | None:
    """Forget a profile on this machine, and end its session; return why that could not be done."""
    failed: LimenError | None = None
    try:
        client.oauth(profile).revoke(client.token(profile))
    except LimenError as error:
        failed = None if error.code == "SIGNED_OUT" else error
    client.vault.forget(profile.name)
    client.profiles.forget(profile)
    return failed


def _by_browser(oauth: OAuth, say: Say, open_browser: Callable[[str], bool], options: LoginOptions) -> Grant:
    proof, state = make_proof(), secrets.token_urlsafe(32)
    with Loopback(state, oauth.metadata.issuer) as loopback:
        url = oauth.authorization_url(loopback.redirect_uri, state, proof, options.need)
        opened = False
        if options.browser:
            with contextlib.suppress(webbrowser.Error, OSError):
                opened = open_browser(url)
        say("Sign in with the browser." if opened else "Open this address in a browser on this machine:")
        say(url)
        if not opened:
            say("No browser here? Use: limen login --device")
        return oauth.redeem(loopback.wait(), loopback.redirect_uri, proof)


def _by_code(oauth: OAuth, say: Say) -> Grant:
    answer = oauth.start_device(plain(f"limen connect on {platform.node()}", 64))
    say(f"On any device, open {plain(answer.verification_uri)} and enter the code {plain(answer.user_code)}")
    return oauth.poll_device(answer)


def _read_ca(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Invalid(f"--ca: {path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    if len(data) > CA_MAX_BYTES or b"PRIVATE KEY" in data:
        raise Invalid(f"--ca: {path} is no file of certificates.", remedy="Give the CA's certificate alone.")
    return data
