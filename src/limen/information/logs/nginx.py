"""nginx's access log: `combined`, and `combined` with `$host` before it.

    log_format limen '$host $remote_addr - $remote_user [$time_local] "$request" '
                     '$status $body_bytes_sent "$http_referer" "$http_user_agent"';

`$remote_user` is the user of Basic authentication; behind `auth_request` write the variable that
`auth_request_set` filled in its place.

Source: nginx.org, ngx_http_log_module.
"""

import re
from datetime import UTC, datetime, timedelta

from limen.core.ids import Instant
from limen.information.logs.lines import LINE_MAX, LogRequest, parse_ip, parse_target, parse_user, unescape

_LINE = re.compile(
    r"(?:(?P<host>[^\s\"]+) )?(?P<ip>[^\s\"]+) - (?P<user>[^\"]{1,256}?) \[(?P<time>\d\d/[^\]\[]{16,30})\] "
    r"\"(?P<request>(?:[^\"\\]|\\.)*)\" (?P<status>\d{3}) (?:\d+|-)(?: .*)?"
)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_nginx(line: str) -> LogRequest | None:
    """Return what a line says, or None when it cannot be read."""
    found = _LINE.fullmatch(line) if len(line) <= LINE_MAX else None
    if found is None:
        return None
    at = _instant(found["time"])
    words = unescape(found["request"]).split(" ")
    if at is None or len(words) != 3 or not words[2].startswith("HTTP/"):
        return None
    target = parse_target(words[0], words[1])
    if target is None:
        return None
    host = (found["host"] or target[0]).rpartition(":")[0] or found["host"] or target[0]
    return LogRequest(
        at=at,
        host=(host or "").lower(),
        method=words[0],
        path=target[1],
        status=int(found["status"]),
        user=parse_user(found["user"]),
        ip=parse_ip(found["ip"]),
    )


def _instant(text: str) -> Instant | None:
    """Return Unix seconds. Months are English whatever the machine's locale is."""
    found = _TIME.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[n]) for n in (1, 3, 4, 5, 6))
    shift = timedelta(hours=int(found[8]), minutes=int(found[9]))
    try:
        at = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return (at - shift if found[7] == "+" else at + shift).timestamp()
