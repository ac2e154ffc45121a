"""`limen protect` edits text: it adds an app and leaves every other byte alone."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from limen.core.errors import Conflict, Invalid
from limen.engine.protect import add_app, add_service

HEAD = "# ours\ndomain: corp.example   # keep me\n"
TAILS = ("", "\n# the end\n", "\ntimezone: UTC\n", "segments:\n  prod: {}\n")
APPS = (
    "",
    "apps:\n",
    "apps: {}\n",
    "apps:   # none yet\n",
    "apps:\n  wiki:\n    upstream: http://127.0.0.1:1\n",
    "apps:\n    wiki: {upstream: http://127.0.0.1:1}   # short\n",
    "apps:\n  wiki:\n    upstream: http://127.0.0.1:1\n    routes:\n      - {name: a, path: /a}\n\n",
    "apps:\n  wiki:\n    upstream:\n      - http://127.0.0.1:1\n  # a comment in between\n  b:\n    upstream: http://127.0.0.1:2",
)


@given(st.sampled_from(APPS), st.sampled_from(TAILS))
def test_the_app_is_added_and_everything_else_stays(apps: str, tail: str) -> None:
    text = HEAD + apps + (tail if not apps or apps.endswith("\n") else "")
    before = yaml.safe_load(text)
    after = add_app(text, name="files", upstream="http://127.0.0.1:9001", allow=("group:staff",))
    parsed = yaml.safe_load(after)
    added = parsed["apps"].pop("files")
    assert added == {"upstream": "http://127.0.0.1:9001", "allow": ["group:staff"]}
    assert (parsed["apps"] or None) == (before.get("apps") or None)
    assert {k: v for k, v in parsed.items() if k != "apps"} == {
        k: v for k, v in before.items() if k != "apps"
    }
    for line in text.splitlines():
        assert line.removesuffix("{}").rstrip() in after


@given(st.sampled_from(APPS), st.sampled_from(TAILS))
def test_a_service_is_added_beside_the_apps(apps: str, tail: str) -> None:
    text = HEAD + apps.replace("apps", "services").replace("upstream: http", "address: h") + tail
    if apps and not apps.endswith("\n"):
        return
    before = yaml.safe_load(text)
    after = add_service(text, name="db", address="[::1]:5432", protocol="postgres", allow=("group:dba",))
    found = yaml.safe_load(after)
    assert found["services"].pop("db") == {
        "address": "[::1]:5432",
        "protocol": "postgres",
        "allow": ["group:dba"],
    }
    assert (found["services"] or None) == (before.get("services") or None)
    assert "apps" not in found


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(Conflict, match="wiki"):
        add_app(APPS[4], name="wiki", upstream="http://127.0.0.1:2", allow=())


@pytest.mark.parametrize("text", ["apps: [", "- a\n", "apps: [a]\n", "apps: {a: {upstream: x}}\n"])
def test_text_that_cannot_be_edited_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        add_app(text, name="files", upstream="http://127.0.0.1:2", allow=())
    assert refused.value.remedy
