"""oauth2-proxy's request log, in its standard format. Its timestamps have no zone: UTC is supposed.

    {{.Client}} - {{.RequestID}} - {{.Username}} [{{.Timestamp}}] {{.Host}} {{.RequestMethod}} {{.Upstream}}
    {{.RequestURI}} {{.Protocol}} {{.UserAgent}} {{.StatusCode}} {{.ResponseSize}} {{.RequestDuration}}

on one line; releases before 7 have no `RequestID`. Source: oauth2-proxy's documentation, "Logging".
"""

import re
from datetime import UTC, datetime

from limen.information.logs.lines import LINE_MAX, LogRequest, parse_ip, parse_target, parse_user, unescape

_QUOTED = r"\"((?:[^\"\\]|\\.)*)\""
_LINE = re.compile(
    r"(?P<ip>\S+)(?: \([^)]*\))? - (?:(?P<id>[0-9A-Za-z-]{8,64}) - )?(?P<user>\S+(?: \S+){0,4}) "
    r"\[(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)\] (?P<host>\S+) (?P<method>\S+) (?P<upstream>\S+) "
    rf"(?P<uri>{_QUOTED}) (?P<protocol>\S+) {_QUOTED} (?P<status>\d{{3}}) \d+ \S+"
)


def parse_oauth2_proxy(line: str) -> LogRequest | None:
    """Return what a line says, or None when it cannot be read, as those of its other logs."""
    found = _LINE.fullmatch(line) if len(line) <= LINE_MAX else None
    if found is None:
        return None
    target = parse_target(found["method"], unescape(found["uri"][1:-1]))
    if target is None:
        return None
    try:
        at = datetime.strptime(found["time"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    host = found["host"]
    return LogRequest(
        at=at.timestamp(),
        host=(host.rpartition(":")[0] or host).lower(),
        method=found["method"],
        path=target[1],
        status=int(found["status"]),
        user=parse_user(found["user"]),
        ip=parse_ip(found["ip"]),
    )
