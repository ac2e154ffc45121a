"""The keys of apps, routes and services in `limen.yaml`: read with `limen_keys`, which holds the rest."""

from limen.core.catalogue import StreamLimits
from limen.core.resources import ACTIONS_ON
from limen.engine import rules
from limen.engine.forms import Choice, Either, Flag, Key, Many, Number, Size, Table, Text, Whole
from limen.engine.limen_rollout import MODE, ROUTE_MODE, SERVICE_MODE

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

PER_RESOURCE_MAX = 1_000_000  # live streams; a bound against slips of the finger
STREAM_MAX_S = 2_592_000  # 30 days, as the longest session

_USUAL = StreamLimits()

STREAMS = Table(
    {
        "per_session": Key(
            Whole(1, PER_RESOURCE_MAX), "Live streams of one session at a gateway.", f"{_USUAL.per_session}"
        ),
        "per_subject": Key(
            Whole(1, PER_RESOURCE_MAX),
            "Live streams of one person or workload at a gateway.",
            f"{_USUAL.per_subject}",
        ),
        "per_resource": Key(
            Whole(1, PER_RESOURCE_MAX), "Live streams to it at a gateway.", f"{_USUAL.per_resource}"
        ),
        "idle_s": Key(
            Number(1, STREAM_MAX_S), "How long one may carry no byte either way.", f"{_USUAL.idle_s:.0f}"
        ),
        "max_s": Key(Number(1, STREAM_MAX_S), "A stream's whole life.", f"{_USUAL.max_s:.0f}"),
    }
)

_UPGRADES_SAY = "Upgrades are the app's: `upgrades: [websocket]`, which is the default."

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
            Choice(ACTIONS_ON["Route"]),
            "The action that policies see.",
            "GET, HEAD, OPTIONS are read; others are write",
        ),
        "public": Key(Flag(), "Open to everyone, with no identity; still checked and recorded.", "false"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
        "streaming": Key(
            Flag(),
            "Answers may be long: held, and ended when access ends, instead of cut after five minutes.",
            "false; event streams and gRPC are held by themselves",
        ),
        "mode": ROUTE_MODE,
    },
    elsewhere={"websocket": _UPGRADES_SAY},
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
        "mode": MODE,
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
        "upgrades": Key(
            Many(Text(rules.UPGRADE)),
            "What a connection to it may turn into; `[]` for nothing.",
            "[websocket]",
        ),
        "http2": Key(Flag(), "It is spoken to in HTTP/2, as gRPC needs.", "false"),
        "streams": Key(STREAMS, "Limits on its live streams.", "those of the whole"),
        "trusts": Key(Many(Text(rules.NAME)), "Apps of this bundle whose pages may post to it.", "none"),
        "routes": Key(Many(ROUTE), "Its parts; the most specific one that matches decides."),
    },
    later={
        "device": "device posture",
        "connector": "connectors",
        "rate_limit": "rate limits",
        "requestable": "access requests",
    },
    elsewhere={
        "streaming": "Mark the routes that do: `{name: events, path: /events, streaming: true}`.",
        "websocket": _UPGRADES_SAY,
        "websockets": _UPGRADES_SAY,
        "address": "An app has an `upstream`; what is no web app goes under `services:`.",
    },
)

SERVICE = Table(
    {
        "address": Key(Text(rules.ADDRESS), "Where it listens, as the gateway reaches it.", required=True),
        "protocol": Key(Text(rules.PROTOCOL), "What is spoken there: ssh, postgres, redis …", "tcp"),
        "allow": Key(
            Many(Text(rules.GRANTEE), one_ok=True), "Who may connect, bounded by the guardrails.", "nobody"
        ),
        "owner": Key(Text(rules.USER), "The person who answers for it; named on denials.", "nobody"),
        "labels": Key(Many(Text(rules.NAME)), 'What it handles: `Label::"phi"`.', "none"),
        "segment": Key(Text(rules.NAME), "The segment that it is in.", "none"),
        "staleness_max_s": Key(
            Number(5, 86_400), "How old the gateway's facts may be.", "300; 30 with labels"
        ),
        "streams": Key(STREAMS, "Limits on its live streams.", "those of the whole"),
        "mode": SERVICE_MODE,
    },
    later={
        "device": "device posture",
        "connector": "connectors",
        "requestable": "access requests",
    },
    elsewhere={
        "upstream": "A service has one `address: host:port`; web apps go under `apps:`.",
        "port": "Write it behind the address: `address: host:port`.",
        "host": "A service is always at `<name>.<domain>`.",
    },
)
