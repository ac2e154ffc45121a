"""What a response that the clock has cut is told to add to the bundle.

Law:
    C1 usable as printed. The line is YAML, and a bundle that has it at the named place passes its check and
       calls that very path a stream.
"""

from fnmatch import fnmatchcase

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from limen.api.cut import cure_of
from limen.core.record import MAX_DURATION, DecisionRecord, OutcomeRecord
from limen.engine.bundle import parse_bundle
from limen.engine.starter import starter_files
from limen.journal.reader import Joined

WIKI = "\napps:\n  wiki:\n    upstream: http://127.0.0.1:9001\n    owner: ada\n    allow: [group:staff]\n"
SEGMENT = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=12)
PATHS = st.lists(SEGMENT.filter(lambda one: one not in (".", "..")), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


def joined(path: str = "/", resource: str = 'App::"wiki"', details: str = MAX_DURATION) -> Joined:
    decision = DecisionRecord(
        "d", 0.0, "n", "gateway", "allow", "PERMITTED", "b", "", "read", resource, path=path
    )
    return Joined(decision, OutcomeRecord("d", 1.0, 200, 300_000, details=details))


@settings(deadline=None, max_examples=50)
@given(PATHS)
def test_law_c1_usable_as_printed(path: str) -> None:
    cut = cure_of(joined(path))
    assert cut is not None
    files = starter_files("corp.example")
    content = yaml.safe_load(files["limen.yaml"] + WIKI)
    content["apps"]["wiki"]["routes"] = yaml.safe_load(cut["line"])
    bundle = parse_bundle({**files, "limen.yaml": yaml.safe_dump(content)})
    (route,) = bundle.catalogue.apps["wiki"].routes
    assert route.streaming
    assert route.path.count("/") == path.count("/")
    assert fnmatchcase(path, route.path)
    assert cut["under"] == "apps.wiki.routes"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/events", "- {name: events, path: /events, streaming: true}"),
        ("/api/v1/Feed.json", "- {name: api-v1-feed-json, path: /api/v1/Feed.json, streaming: true}"),
        ("/", "- {name: stream, path: /, streaming: true}"),
        ("/rooms/a b/x", "- {name: rooms-x, path: /rooms/*/x, streaming: true}"),
        ("/42", "- {name: stream-42, path: /42, streaming: true}"),
        ("/on", "- {name: stream-on, path: /on, streaming: true}"),
    ],
)
def test_the_line_names_the_path(path: str, line: str) -> None:
    cut = cure_of(joined(path))
    assert cut is not None and cut["line"] == line


def test_a_route_that_is_there_already_gets_a_word_more() -> None:
    cut = cure_of(joined("/exports/1", 'Route::"wiki/exports"'))
    assert cut == {
        "after_ms": 300_000,
        "file": "limen.yaml",
        "under": "apps.wiki.routes",
        "route": "exports",
        "line": "streaming: true",
    }


@pytest.mark.parametrize(
    "other",
    [joined(details=""), joined(details="via_upstream"), joined(resource='Service::"db"')],
    ids=["whole", "other-end", "service"],
)
def test_nothing_else_is_cured(other: Joined) -> None:
    assert cure_of(other) is None
    assert cure_of(Joined(other.decision)) is None
