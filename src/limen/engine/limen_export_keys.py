"""`exports:` of `limen.yaml`: where the journal's records are sent as they are written."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from limen.core.catalogue import ExportConfig
from limen.engine import rules
from limen.engine.forms import Choice, Key, Many, MapOf, Rule, Table, Text
from limen.engine.read_forms import Log, Path

SYSLOG, HTTPS, OTLP = "syslog", "https", "otlp"
CLASSES = ("decisions", "events")

ReadPem = Callable[[str | None, Path], str | None]
"""Returns the content of a certificate file of the bundle, by its name and the place that names it."""


def _collector(text: str) -> str:
    """Return `host:port` or an https URL, canonical."""
    if "://" not in text:
        return rules.ADDRESS.check(text)
    parts = urlsplit(text)
    if parts.scheme != "https":
        raise ValueError("What the journal holds travels over TLS alone: https://, or host:port for syslog.")
    if parts.username is not None or parts.fragment:
        raise ValueError("Leave out user and fragment; a token is a stored secret, named by `secret`.")
    if any(character <= " " or character in "\\\x7f" or ord(character) > 0x7E for character in text):
        raise ValueError("It holds a space, or a character that is not plain ASCII.")
    rules.UPSTREAM.check(f"https://{parts.netloc}")
    return text


COLLECTOR = Rule(
    'an address, such as "siem.corp.example:6514" or "https://logs.corp.example/in"',
    _collector,
    r"^(https://|(\[[0-9A-Fa-f:.]+\]|[^:/\s\[\]]+):[0-9]{1,5}$)",
)

EXPORT = Table(
    {
        "kind": Key(
            Choice((SYSLOG, HTTPS, OTLP)),
            "`syslog`: RFC 5424 over TLS. `https`: batches by POST. `otlp`: OpenTelemetry logs over HTTP.",
            required=True,
        ),
        "url": Key(
            Text(COLLECTOR),
            "The collector: `host:port` of syslog; else an https address, of otlp with its `/v1/logs`.",
            required=True,
        ),
        "format": Key(Choice(("ocsf", "jsonl")), "OCSF 1.8.0 events, or Limen's own JSON.", "ocsf"),
        "classes": Key(Many(Choice(CLASSES), at_least=1), "What is sent.", "decisions, events"),
        "secret": Key(
            Text(rules.SECRET_NAME), "The stored secret that is sent as bearer token (https, otlp).", "none"
        ),
        "pseudonyms": Key(
            Text(rules.SECRET_NAME),
            "The stored secret under which people have pseudonyms: 32 random characters or more.",
            "people are named",
        ),
        "ca": Key(
            Text(rules.PEM_FILE),
            "Certificates that may sign the collector's, a file of the bundle.",
            "the system's",
        ),
    }
)

EXPORTS = Key(
    MapOf(rules.NAME, EXPORT), "Collectors to which records are sent as they are written, by name.", "none"
)


def read_exports(tree: Mapping[str, Any], read_pem: ReadPem, log: Log) -> dict[str, ExportConfig]:
    """Return the sinks, and note what does not go together."""
    return {name: _export(name, entry, read_pem, log) for name, entry in tree.items()}


def _export(name: str, tree: Mapping[str, Any], read_pem: ReadPem, log: Log) -> ExportConfig:
    path: Path = ("exports", name)
    kind, url = tree.get("kind", SYSLOG), tree.get("url", "")
    if {"kind", "url"} <= tree.keys() and (kind == SYSLOG) == ("://" in url):
        log.wrong(
            (*path, "url"),
            f"`{url}` is no address for {kind}.",
            "Write host:port for syslog, an https:// address for https and otlp.",
        )
    if kind == SYSLOG and "secret" in tree:
        log.wrong((*path, "secret"), "Syslog carries no bearer token (RFC 5425).", "Remove `secret`.")
    return ExportConfig(
        name=name,
        kind=kind,
        url=url,
        format=tree.get("format", "ocsf"),
        classes=tuple(tree.get("classes", CLASSES)),
        secret=tree.get("secret"),
        pseudonyms=tree.get("pseudonyms"),
        ca_pem=read_pem(tree.get("ca"), (*path, "ca")),
    )
