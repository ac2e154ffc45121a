"""`clients:` of `limen.yaml`: what is read, and what is told of what cannot be."""

import pytest

from limen.engine.limen_yaml import Reading, parse_limen_yaml
from limen.engine.protect import add_client


def read(clients: str, **files: str) -> Reading:
    """Read a limen.yaml with this under `clients:`."""
    return parse_limen_yaml(f"domain: corp.example\nattributes: {{team: String}}\nclients:\n{clients}", files)


def test_a_client_is_read() -> None:
    reading = read(
        """
  grafana:
    title: Grafana
    url: https://grafana.example/
    allow: group:staff
    oidc:
      redirect_uris: https://grafana.example/login
      auth: secret
      secret: grafana
      claims: {role: team}
      access_token: 10m
      backchannel_logout_uri: https://grafana.example/back
"""
    )
    assert list(reading.findings) == []
    client = reading.catalogue.clients["grafana"]
    assert client.oidc is not None and client.oidc.secrets == ("grafana",)
    assert client.oidc.access_token_s == 600.0 and client.oidc.claims == {"role": "team"}
    assert client.oidc.redirect_uris == ("https://grafana.example/login",)


def test_an_api_and_keys_of_a_client() -> None:
    reading = read(
        """
  api: {audience: "https://api.example"}
  ci: {oidc: {redirect_uris: [https://ci.example/cb], auth: private_key_jwt, jwks: ci.json, audiences: api}}
""",
        **{"ci.json": '{"keys": []}'},
    )
    assert list(reading.findings) == []
    client = reading.catalogue.clients["ci"]
    assert (
        client.oidc is not None and client.oidc.jwks == '{"keys": []}' and client.oidc.audiences == ("api",)
    )


URI = "redirect_uris: [https://a.example/cb]"


@pytest.mark.parametrize(
    ("clients", "said"),
    [
        ("  a: {oidc: {}}", "`redirect_uris` is missing"),
        ("  a: {oidc: {redirect_uris: [http://a.example/cb]}}", "redirect_uris"),
        ('  a: {oidc: {redirect_uris: ["https://*.example/cb"]}}', "redirect_uris"),
        ('  a: {oidc: {redirect_uris: ["https://u@a.example/cb"]}}', "redirect_uris"),
        ('  a: {oidc: {redirect_uris: ["https://a.example/#x"]}}', "redirect_uris"),
        ('  a: {oidc: {redirect_uris: ["javascript:alert(1)"]}}', "redirect_uris"),
        (f"  a: {{oidc: {{{URI}, auth: secret}}}}", "A client with a secret names it"),
        (f"  a: {{oidc: {{{URI}, secret: x}}}}", "`secret` does not go with `auth: none`"),
        (f"  a: {{oidc: {{{URI}, auth: private_key_jwt}}}}", "names its public half"),
        (f"  a: {{oidc: {{{URI}, jwks_uri: https://a.example/k}}}}", "`jwks_uri` does not go with"),
        (f"  a: {{oidc: {{{URI}, access_token: 2h}}}}", "too short or too long"),
        (f"  a: {{oidc: {{{URI}, audiences: [b]}}}}", "There is no API `b`"),
        (f"  a: {{oidc: {{{URI}, claims: {{sub: team}}}}}}", "sub"),
        (f"  a: {{oidc: {{{URI}, claims: {{x: nothing}}}}}}", "no field or attribute `nothing`"),
        (f"  a: {{oidc: {{{URI}, signing: none}}}}", "signing"),
        ("  a: {audience: x}\n  b: {audience: x}", "`a` has the same audience"),
        ("  a: {upstream: http://x}", "goes under `apps:`"),
    ],
)
def test_what_cannot_be_is_told(clients: str, said: str) -> None:
    told = " ".join(f"{finding.message} {finding.remedy}" for finding in read(clients).findings)
    assert said in told


def test_a_client_is_written_into_the_text() -> None:
    text = "domain: corp.example # ours\n\nclients:\n  old: {audience: x}\n"
    oidc = {"redirect_uris": ["https://a.example/cb"], "auth": "secret", "secret": "a"}
    said = {"title": "The App", "oidc": oidc}
    after = add_client(text, name="a", said=said, allow=("group:staff",))
    reading = parse_limen_yaml(after, {})
    assert list(reading.findings) == [] and after.startswith("domain: corp.example # ours")
    client = reading.catalogue.clients["a"]
    assert client.oidc is not None and client.oidc.secrets == ("a",) and client.allow == ("group:staff",)
    assert "old" in reading.catalogue.clients
