"""Every key of `limen.yaml`, in one table: read by the parser, the JSON Schema and the reference page."""

from limen.engine import rules
from limen.engine.forms import Choice, Either, Flag, Key, Many, MapOf, Number, Size, Table, Text, Whole

BODY_MAX_BYTES = 10 * 10**9
HEADER_PRESETS = {
    "oauth2-proxy": {
        "user": "X-Forwarded-User",
        "email": "X-Forwarded-Email",
        "groups": "X-Forwarded-Groups",
    },
    "authelia": {
        "user": "Remote-User",
        "email": "Remote-Email",
        "groups": "Remote-Groups",
        "name": "Remote-Name",
    },
    "authentik": {
        "user": "X-authentik-username",
        "email": "X-authentik-email",
        "groups": "X-authentik-groups",
        "name": "X-authentik-name",
    },
    "pomerium": {
        "user": "X-Pomerium-Claim-User",
        "email": "X-Pomerium-Claim-Email",
        "groups": "X-Pomerium-Claim-Groups",
        "name": "X-Pomerium-Claim-Name",
    },
}
"""Header names by which apps that stood behind another proxy already know a person."""

ACTIONS = ("read", "write", "admin")

ROUTE = Table(
    {
        "name": Key(
            Text(rules.NAME),
            'Its name; with the app\'s it is a Cedar id: `Route::"payroll/exports"`.',
            required=True,
        ),
        "path": Key(
            Text(rules.PATH_PATTERN),
            "Which paths: literal segments, `*` for one, `**` at the end for any.",
            required=True,
        ),
        "methods": Key(Many(Text(rules.METHOD), at_least=1), "Which methods.", "all"),
        "action": Key(
            Choice(ACTIONS), "The action that policies see.", "GET, HEAD, OPTIONS are read; others are write"
        ),
        "public": Key(Flag(), "Open to everyone, with no identity; still checked and recorded.", "false"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
    },
    later={
        "streaming": "live streams on a leash",
        "mode": "rollout modes",
        "websocket": "live streams on a leash",
    },
)

IDENTITY = Either(
    Choice(("assertion",)),
    Table(
        {
            "headers": Key(
                Table(
                    {
                        "preset": Key(
                            Choice(tuple(HEADER_PRESETS)), "Header names of another product.", "none"
                        ),
                        "user": Key(Text(rules.HEADER), "The header for the username.", "the preset's"),
                        "email": Key(
                            Text(rules.HEADER), "The header for the e-mail address.", "the preset's"
                        ),
                        "groups": Key(
                            Text(rules.HEADER), "The header for the groups, comma-separated.", "the preset's"
                        ),
                        "name": Key(Text(rules.HEADER), "The header for the name to show.", "the preset's"),
                    }
                ),
                "Tell the app in headers, besides the assertion.",
            ),
            "basic": Key(
                Table(
                    {
                        "user": Key(Text(rules.WORD), "The user name to send.", required=True),
                        "secret": Key(
                            Text(rules.SECRET_NAME), "The stored secret that is its password.", required=True
                        ),
                    }
                ),
                "Sign in to the app with one Basic credential for everyone.",
            ),
        }
    ),
)

APP = Table(
    {
        "upstream": Key(
            Many(Text(rules.UPSTREAM), one_ok=True, at_least=1),
            "Where the app is; several are health-checked.",
            required=True,
        ),
        "host": Key(Text(rules.HOST), "Its host name.", "`<name>.<domain>`"),
        "allow": Key(
            Many(Text(rules.GRANTEE), one_ok=True),
            "Who may read and write, bounded by the guardrails.",
            "nobody",
        ),
        "owner": Key(Text(rules.USER), "The person who answers for it; named on denials.", "nobody"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
        "segment": Key(Text(rules.NAME), "The segment that it is in.", "none"),
        "mode": Key(
            Choice(("enforce",), later={"observe": "rollout modes", "warn": "rollout modes"}),
            "What a denial does.",
            "enforce",
        ),
        "identity": Key(
            IDENTITY,
            "How the app learns who it is: a signed assertion, headers, or one Basic credential.",
            "assertion",
        ),
        "upstream_tls": Key(
            Table(
                {
                    "ca": Key(
                        Text(rules.PEM_FILE),
                        "Certificates that may sign the upstream's, a file of the bundle.",
                        "the system's",
                    ),
                    "name": Key(
                        Text(rules.HOST), "The name that its certificate must have.", "the upstream's host"
                    ),
                }
            ),
            "How an https upstream proves itself.",
            "verified with the system's certificates",
        ),
        "upstream_host": Key(
            Choice(("preserve", "rewrite")),
            "The `Host` that the app sees: the outer one, or the upstream's.",
            "preserve",
        ),
        "timeout_s": Key(Number(1, 3600), "How long the app may take to answer.", "60"),
        "max_body_bytes": Key(Size(BODY_MAX_BYTES), "The largest request body.", "50MB"),
        "staleness_max_s": Key(
            Number(5, 86_400), "How old the gateway's facts may be.", "300; 30 with labels"
        ),
        "paths": Key(
            Table(
                {
                    "allow": Key(
                        Many(Choice(("encoded_slash",))), "Unusual paths that the app needs: `%2F`.", "none"
                    )
                }
            ),
            "What its paths may hold.",
        ),
        "cors": Key(
            Table(
                {
                    "origins": Key(
                        Many(Text(rules.ORIGIN), at_least=1),
                        "Origins whose pages may call it.",
                        required=True,
                    )
                }
            ),
            "Calls from pages of other origins.",
            "none",
        ),
        "trusts": Key(Many(Text(rules.NAME)), "Apps of this bundle whose pages may post to it.", "none"),
        "routes": Key(Many(ROUTE), "Its parts; the most specific one that matches decides."),
    },
    later={
        "streaming": "live streams on a leash",
        "websocket": "live streams on a leash",
        "device": "device posture",
        "connector": "connectors",
        "rate_limit": "rate limits",
        "requestable": "access requests",
    },
)

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
    },
    later={
        "services": "TCP services through connectors",
        "connectors": "connectors",
        "agents": "device agents",
        "devices": "device posture",
        "posture": "device posture",
        "console": "the console",
        "scim": "SCIM provisioning",
        "signals": "shared signals",
        "requests": "access requests",
        "reviews": "access reviews",
        "mode": "rollout modes",
        "risk": "behaviour and risk",
        "acme": "certificates by ACME",
        "saml": "SAML",
        "ssh": "SSH access",
        "exports": "log exports",
    },
)
