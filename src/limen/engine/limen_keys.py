"""Every key of `limen.yaml`, in one table: read by the parser, the JSON Schema and the reference page."""

from limen.engine import rules
from limen.engine.forms import Choice, Flag, Key, Many, MapOf, Table, Text, Whole
from limen.engine.limen_export_keys import EXPORTS
from limen.engine.limen_journal_keys import JOURNAL
from limen.engine.limen_resource_keys import APP, HEADER_PRESETS, SERVICE, STREAMS

__all__ = ["HEADER_PRESETS", "LIMEN_YAML"]

OIDC = Table(
    {
        "issuer": Key(Text(rules.ISSUER), "Its issuer address; the rest is discovered.", required=True),
        "client_id": Key(Text(rules.WORD), "The client that it knows Limen as.", required=True),
        "client_secret": Key(
            Text(rules.SECRET_NAME), "The stored secret of that client.", "none: a public client with PKCE"
        ),
        "scopes": Key(Many(Text(rules.SCOPE), at_least=1), "What is asked for.", "openid, profile, email"),
        "groups_claim": Key(Text(rules.CLAIM), "The claim that lists groups.", "groups"),
        "username_claim": Key(Text(rules.CLAIM), "The claim that is the username.", "preferred_username"),
        "group_prefix": Key(
            Text(rules.WORD), "Put before each of its groups, so that they cannot pass for yours.", "none"
        ),
        "ca": Key(
            Text(rules.PEM_FILE),
            "Certificates that may sign the provider's, a file of the bundle.",
            "the system's",
        ),
        "create": Key(Flag(), "Make the person at first sign-in.", "true"),
    },
)

LIMEN_YAML = Table(
    {
        "domain": Key(
            Text(rules.DOMAIN), "Apps are at `<name>.<domain>`, sign-in at `auth.<domain>`.", required=True
        ),
        "timezone": Key(Text(rules.TIMEZONE), "What `context.hour` and `context.weekday` mean.", "UTC"),
        "apps": Key(MapOf(rules.APP_NAME, APP), "The apps, by name."),
        "services": Key(
            MapOf(rules.SERVICE_NAME, SERVICE),
            "TCP services, by name; reached with `limen connect` at `<name>.<domain>`.",
            "none",
        ),
        "streams": Key(STREAMS, "Limits on live streams, for every app and service that has none."),
        "attributes": Key(
            MapOf(rules.ATTRIBUTE, Choice(("String", "Long", "Bool"))),
            "Your own attributes of people, with their Cedar types.",
            "none",
        ),
        "segments": Key(
            MapOf(
                rules.NAME,
                Table({"in": Key(Text(rules.NAME), "The segment around it.", "none")}),
                empty_value=True,
            ),
            "Parts of the network that policies name.",
            "none",
        ),
        "oidc": Key(
            MapOf(rules.NAME, OIDC), "Identity providers that people may sign in with, by name.", "none"
        ),
        "edge": Key(
            Table(
                {
                    "trusted_proxies": Key(
                        Many(Text(rules.NETWORK)),
                        "Proxies in front, whose forwarded addresses count.",
                        "none",
                    ),
                    "proxy_protocol": Key(Flag(), "Connections begin with a PROXY protocol header.", "false"),
                }
            ),
            "What stands in front of the gateway.",
            "forwarded headers are ignored",
        ),
        "certificate": Key(
            Table(
                {
                    "cert": Key(Text(rules.ABSOLUTE_PATH), "The chain, PEM.", required=True),
                    "key": Key(Text(rules.ABSOLUTE_PATH), "The private key, PEM.", required=True),
                }
            ),
            "Your own certificate; read again when it changes.",
            "a development CA",
        ),
        "sessions": Key(
            Table(
                {
                    "max_s": Key(
                        Whole(300, 2_592_000), "How long a sign-in lasts.", "43200, SP 800-63B 2.2.3"
                    ),
                    "idle_s": Key(
                        Whole(60, 2_592_000), "How long one may be away.", "3600, SP 800-63B 2.2.3"
                    ),
                }
            ),
            "How long sessions live.",
        ),
        "journal": Key(JOURNAL, "How journals are kept, on every node."),
        "exports": EXPORTS,
        "policy": Key(
            Table(
                {
                    "guardrails": Key(
                        Choice(("free", "approved")),
                        "`approved`: a changed guardrail needs a second administrator's approval.",
                        "free",
                    )
                }
            ),
            "Who may change policies.",
        ),
    },
    elsewhere={"mode": "Say it of an app, a route or a service."},
    later={
        "connectors": "connectors",
        "agents": "device agents",
        "devices": "device posture",
        "posture": "device posture",
        "console": "the console",
        "scim": "SCIM provisioning",
        "signals": "shared signals",
        "requests": "access requests",
        "reviews": "access reviews",
        "risk": "behaviour and risk",
        "acme": "certificates by ACME",
        "saml": "SAML",
        "ssh": "SSH access",
    },
)
