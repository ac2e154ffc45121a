"""Why a stream was ended, told to the one client that had it: `GET /.limen/ended/<stream id>`.

A tunnel that is reset carries no reason, so `limen connect` asks afterwards. Whoever cannot show the
token that opened the stream gets the answer that a stream gets which never was.
"""

import hmac
import json
from datetime import UTC, datetime

from limen.administrator.streams import Streams
from limen.core.tokens import TOKEN_LENGTH_MAX, token_hash
from limen.enforcement.check.answer import Answer, problem
from limen.enforcement.check.credentials import read_credentials
from limen.enforcement.check.request import CheckRequest

ENDED_PATH = b"/.limen/ended/"
_METHODS = frozenset({"GET", "HEAD"})

NOT_KNOWN = problem(
    404, "NOT_FOUND", "No such stream", "No stream of this name was opened with this token and then ended."
)


def asks_for_ending(request: CheckRequest) -> bool:
    """Say whether a request is answered here instead of being decided."""
    return request.method in _METHODS and request.target.startswith(ENDED_PATH)


def answer_ending(request: CheckRequest, streams: Streams) -> Answer:
    """Return how the stream ended, if the request carries its own token.

    Raises:
        BadRequest: two `Cookie` headers.
    """
    stream_id = request.target[len(ENDED_PATH) :].partition(b"?")[0].decode("latin-1")
    credentials = read_credentials(request)
    ended = streams.ended(stream_id)
    token = credentials.token
    if ended is None or token is None or len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        return NOT_KNOWN
    if credentials.kind != "token" or not hmac.compare_digest(token_hash(token), ended.token_hash):
        return NOT_KNOWN
    content = {
        "id": ended.id,
        "cause": ended.cause.value,
        "sentence": ended.sentence,
        "at": datetime.fromtimestamp(ended.at, UTC).isoformat(timespec="milliseconds"),
        "decision_id": ended.decision_id,
    }
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return Answer(200, headers, json.dumps(content).encode())
