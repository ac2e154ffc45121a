"""Every key of `limen.yaml`, in one table: read by the parser, the JSON Schema and the reference page."""

from limen.engine import rules
from limen.engine.forms import Choice, Flag, Key, Many, MapOf, Table, Text, Whole
from limen.engine.limen_client_keys import CLIENTS
from limen.engine.limen_export_keys import EXPORTS
from limen.engine.limen_journal_keys import JOURNAL
from limen.engine.limen_ldap_keys import LDAP
from limen.engine.limen_machine_keys import MACHINES
from limen.engine.limen_oidc_keys import OIDC
from limen.engine.limen_resource_keys import APP, HEADER_PRESETS, SERVICE, STREAMS
from limen.engine.limen_saml_keys import SAML
from limen.engine.limen_scim_keys import SCIM
from limen.engine.limen_strength_keys import STRENGTH

__all__ = ["HEADER_PRESETS", "LIMEN_YAML"]

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
        **CLIENTS,
        **OIDC,
        **SAML,
        **LDAP,
        **SCIM,
        **STRENGTH,
        **MACHINES,
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
        "signals": "shared signals",
        "requests": "access requests",
        "reviews": "access reviews",
        "risk": "behaviour and risk",
        "acme": "certificates by ACME",
        "ssh": "SSH access",
    },
)
