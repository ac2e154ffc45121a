"""A SAML identity provider's key in a test's hands: responses good and forged, made by pysaml2 and xmlsec1.

None of it is Limen's code, so that Limen is not checked against itself.
"""

import base64
import datetime
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from defusedxml import ElementTree

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"

IDP = "https://idp.example/metadata"
SSO = "https://idp.example/sso"
SLO = "https://idp.example/slo"


class Party(msgspec.Struct, frozen=True):
    """Somebody with a key."""

    private_pem: str
    certificate: str

    @property
    def body(self) -> str:
        """The certificate as XML carries it."""
        return "".join(self.certificate.strip().splitlines()[1:-1])


@cache
def party(name: str = "idp") -> Party:
    """Return a party; the same for a name."""
    key = rsa.generate_private_key(65537, 2048)
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    old = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)  # dates of metadata's certificates say nothing
    certificate = x509.CertificateBuilder(
        named, named, key.public_key(), 7, old, old + datetime.timedelta(days=365)
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Party(private.decode(), certificate.public_bytes(pem).decode())


def idp_metadata(who: Party, entity_id: str = IDP) -> str:
    """Return the provider's metadata."""
    return f"""<?xml version="1.0"?><!-- as exported -->
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"
    xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{entity_id}">
  <md:IDPSSODescriptor protocolSupportEnumeration="{PROTOCOL}">
    <md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data>
      <ds:X509Certificate>{who.body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{SLO}"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{SSO}"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>"""


class Said(msgspec.Struct, frozen=True):
    """What a response says; each field can be made wrong."""

    request: str
    consumer: str
    audience: str
    now: float
    name_id: str = "ada-7"
    name_format: str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
    issuer: str = IDP
    destination: str | None = None  # None: the consumer
    recipient: str | None = None
    in_response_to: str | None = None  # None: the request
    valid_s: float = 300.0
    early_s: float = 30.0
    signed_in_s: float = 5.0  # ago
    context: str = PASSWORD
    ident: str = "_assertion1"
    conditions: bool = True
    audiences: bool = True
    sign_response: bool = False
    sign_assertion: bool = True
    algorithm: str = RSA_SHA256
    digest: str = SHA256
    session_index: str = "s-1"
    attributes: dict[str, tuple[str, ...]] = {}
    status: str = "urn:oasis:names:tc:SAML:2.0:status:Success"


def at(instant: float) -> str:
    """Return an instant as SAML writes it."""
    return datetime.datetime.fromtimestamp(instant, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signature(ident: str, who: Party, said: Said) -> str:
    """Return an empty signature."""
    return (
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
        f'<ds:SignatureMethod Algorithm="{said.algorithm}"/><ds:Reference URI="#{ident}"><ds:Transforms>'
        '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
        '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{said.digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>'
        f"<ds:SignatureValue/><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{who.body}</ds:X509Certificate>"
        "</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )


def assertion(said: Said, who: Party) -> str:
    """Return an assertion, its signature still empty."""
    answers = said.request if said.in_response_to is None else said.in_response_to
    recipient = said.consumer if said.recipient is None else said.recipient
    until = at(said.now + said.valid_s)
    audience = (
        f"<saml:AudienceRestriction><saml:Audience>{said.audience}</saml:Audience></saml:AudienceRestriction>"
    )
    conditions = (
        f'<saml:Conditions NotBefore="{at(said.now - said.early_s)}" NotOnOrAfter="{until}">'
        f"{audience if said.audiences else ''}</saml:Conditions>"
    )
    listed = "".join(
        f'<saml:Attribute Name="{name}">'
        + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
        + "</saml:Attribute>"
        for name, values in said.attributes.items()
    )
    return (
        f'<saml:Assertion xmlns:saml="{ASSERTION}" ID="{said.ident}" Version="2.0" '
        f'IssueInstant="{at(said.now)}">'
        f"<saml:Issuer>{said.issuer}</saml:Issuer>"
        f"{signature(said.ident, who, said) if said.sign_assertion else ''}"
        f'<saml:Subject><saml:NameID Format="{said.name_format}">{said.name_id}</saml:NameID>'
        '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
        f'<saml:SubjectConfirmationData Recipient="{recipient}" InResponseTo="{answers}" '
        f'NotOnOrAfter="{until}"/></saml:SubjectConfirmation></saml:Subject>'
        f"{conditions if said.conditions else ''}"
        f'<saml:AuthnStatement AuthnInstant="{at(said.now - said.signed_in_s)}" '
        f'SessionIndex="{said.session_index}"><saml:AuthnContext><saml:AuthnContextClassRef>{said.context}'
        "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
        f"{f'<saml:AttributeStatement>{listed}</saml:AttributeStatement>' if listed else ''}</saml:Assertion>"
    )


def response(
    said: Said, who: Party, *, before: Callable[[str], str] = str, after: Callable[[str], str] = str
) -> bytes:
    """Return a response, signed as `said` says. `before` changes it before that, `after` afterwards."""
    answers = said.request if said.in_response_to is None else said.in_response_to
    destination = said.consumer if said.destination is None else said.destination
    text = (
        f'<samlp:Response xmlns:samlp="{PROTOCOL}" xmlns:saml="{ASSERTION}" ID="_response1" Version="2.0" '
        f'IssueInstant="{at(said.now)}" Destination="{destination}" InResponseTo="{answers}">'
        f"<saml:Issuer>{said.issuer}</saml:Issuer>"
        f"{signature('_response1', who, said) if said.sign_response else ''}"
        f'<samlp:Status><samlp:StatusCode Value="{said.status}"/></samlp:Status>'
        f"{assertion(said, who)}</samlp:Response>"
    )
    text = before(text)
    if said.sign_assertion:
        text = fill_in(text, f"{ASSERTION}:Assertion", said.ident, who)
    if said.sign_response:
        text = fill_in(text, f"{PROTOCOL}:Response", "_response1", who)
    return after(text).encode()


def fill_in(text: str, node: str, ident: str, who: Party) -> str:
    """Let xmlsec1 fill in a signature."""
    with tempfile.TemporaryDirectory() as folder:
        key, plain = Path(folder) / "key.pem", Path(folder) / "in.xml"
        key.write_text(who.private_pem)
        plain.write_text(text)
        command = ["xmlsec1", "--sign", "--privkey-pem", str(key), "--id-attr:ID", node, "--node-id", ident]
        signed = subprocess.run([*command, str(plain)], capture_output=True, text=True, check=True).stdout
    return signed.removeprefix('<?xml version="1.0"?>\n')


def form(xml: bytes, relay_state: str = "") -> dict[str, str]:
    """Return a response as a browser posts it."""
    return {"SAMLResponse": base64.b64encode(xml).decode(), "RelayState": relay_state}


class Asking(msgspec.Struct, frozen=True):
    """A request as the provider reads it."""

    ident: str
    consumer: str
    issuer: str
    relay_state: str
    force: bool
    contexts: tuple[str, ...]
    query: str


def read_request(url: str) -> Asking:
    """Read the request in a redirect."""
    query = urlsplit(url).query
    values = {name: found[0] for name, found in parse_qs(query, strict_parsing=True).items()}
    root = ElementTree.fromstring(zlib.decompress(base64.b64decode(values["SAMLRequest"]), -15))
    return Asking(
        root.attrib["ID"],
        root.attrib["AssertionConsumerServiceURL"],
        root.findtext(f"{{{ASSERTION}}}Issuer", ""),
        values["RelayState"],
        root.get("ForceAuthn") == "true",
        tuple(one.text or "" for one in root.iter(f"{{{ASSERTION}}}AuthnContextClassRef")),
        query,
    )


# --- the other side: an app that asks ------------------------------------------------------------------

SP = "https://app.example/metadata"
ACS = "https://app.example/acs"


def sp_metadata(
    who: Party | None = None, *, entity_id: str = SP, acs: str = ACS, signed: bool = False
) -> str:
    """Return an app's metadata."""
    key = (
        f'<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>'
        f"<ds:X509Certificate>{who.body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        if who
        else ""
    )
    binding = "urn:oasis:names:tc:SAML:2.0:bindings"
    return f"""<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity_id}">
  <md:SPSSODescriptor protocolSupportEnumeration="{PROTOCOL}"
    AuthnRequestsSigned="{str(signed).lower()}">{key}
    <md:SingleLogoutService Binding="{binding}:HTTP-Redirect" Location="{acs}/slo"/>
    <md:AssertionConsumerService Binding="{binding}:HTTP-POST" Location="{acs}/old" index="0"/>
    <md:AssertionConsumerService Binding="{binding}:HTTP-POST" Location="{acs}" index="1" isDefault="true"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>"""


def authn_request(now: float, destination: str, *, issuer: str = SP, ident: str = "_r1", more: str = "",
                  inside: str = "") -> str:  # fmt: skip
    """Return an app's request. `more`: attributes; `inside`: elements."""
    return (
        f'<samlp:AuthnRequest xmlns:samlp="{PROTOCOL}" xmlns:saml="{ASSERTION}" ID="{ident}" Version="2.0" '
        f'IssueInstant="{at(now)}" Destination="{destination}" {more}>'
        f"<saml:Issuer>{issuer}</saml:Issuer>{inside}</samlp:AuthnRequest>"
    )


def logout_request(now: float, destination: str, *, issuer: str, name_id: str, index: str = "",
                   ident: str = "_l1") -> str:  # fmt: skip
    """Return a request to sign somebody out."""
    session = f"<samlp:SessionIndex>{index}</samlp:SessionIndex>" if index else ""
    return (
        f'<samlp:LogoutRequest xmlns:samlp="{PROTOCOL}" xmlns:saml="{ASSERTION}" ID="{ident}" Version="2.0" '
        f'IssueInstant="{at(now)}" Destination="{destination}"><saml:Issuer>{issuer}</saml:Issuer>'
        f"<saml:NameID>{name_id}</saml:NameID>{session}</samlp:LogoutRequest>"
    )


def redirect(
    url: str,
    xml: str,
    *,
    kind: str = "SAMLRequest",
    relay_state: str = "",
    who: Party | None = None,
    algorithm: str = RSA_SHA256,
) -> str:
    """Return the address that carries a message, signed if somebody is to have signed it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = base64.b64encode(packer.compress(xml.encode()) + packer.flush()).decode()
    query = f"{kind}={quote(packed, safe='')}"
    query += f"&RelayState={quote(relay_state, safe='')}" if relay_state else ""
    if who is not None:
        query += f"&SigAlg={quote(algorithm, safe='')}"
        key = serialization.load_pem_private_key(
            who.private_pem.encode(), None, unsafe_skip_rsa_key_validation=True
        )
        assert isinstance(key, rsa.RSAPrivateKey)
        digest = hashes.SHA1() if algorithm == RSA_SHA1 else hashes.SHA256()
        signed = key.sign(query.encode(), padding.PKCS1v15(), digest)
        query += f"&Signature={quote(base64.b64encode(signed).decode(), safe='')}"
    return f"{url}?{query}"
