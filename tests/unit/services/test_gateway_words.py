"""Host and brain: what they say arrives as it was said, and what one of them does not know is skipped."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limen.services.gateway_options import GatewayOptions, parse_arguments
from limen.services.gateway_words import Order, Word, parse_order, parse_word, render_line

finite = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no other


def said(kinds: object) -> st.SearchStrategy[Any]:
    """Any message of a union, with finite numbers."""
    return st.one_of(
        *(
            st.builds(kind, **{f.name: finite for f in msgspec.structs.fields(kind) if f.type is float})
            for kind in get_args(kinds)
        )
    )


words, orders = said(Word), said(Order)


@given(words)
def test_a_word_arrives_as_it_was_said(word: Word) -> None:
    line = render_line(word)
    assert line.count(b"\n") == 1
    assert parse_word(line) == word


@given(orders)
def test_an_order_arrives_as_it_was_given(order: Order) -> None:
    assert parse_order(render_line(order)) == order


@pytest.mark.parametrize("line", [b'{"type":"sing"}\n', b"\n", b"not json\n", b'{"type":"beat"}\n', b"[]\n"])
def test_what_another_release_says_is_skipped(line: bytes) -> None:
    assert parse_word(line) is None
    assert parse_order(line) is None


def test_a_field_that_another_release_added_does_no_harm() -> None:
    word = parse_word(b'{"type":"standing","release":"9","mood":"fine"}\n')
    assert word is not None


names = st.text("abc-.:0123456789", min_size=1).filter(lambda text: not text.startswith("-"))
seconds = st.floats(min_value=0, max_value=1e9)
options = st.builds(
    GatewayOptions,
    state=names.map(Path),
    port=st.integers(1, 65_535),
    listen=names,
    metrics=st.none() | names,
    node=names,
    drain_s=seconds,
    upgrade_deadline_s=seconds,
)


@given(options)
def test_options_reach_host_and_brain_as_they_were_given(options: GatewayOptions) -> None:
    assert parse_arguments(options.arguments()) == options
