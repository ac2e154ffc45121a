"""Searching the bytes of a segment that is not compacted: what holds a word is found before it is decoded.

The mark of a frame never occurs in a payload, so from any place in a payload its frame is the one that starts
at the last mark before; a search of raw bytes runs at memory speed, and no index is kept or believed.
"""

import heapq
import mmap
import re
from collections.abc import Iterator, Sequence

from limen.journal.frame import HEAD_BYTES, MARK, PAYLOAD_BYTES_MAX, Frame, Kind, parse_frame

_FRAME_BYTES_MAX = HEAD_BYTES + PAYLOAD_BYTES_MAX
_OUTCOME = re.compile(rb'\{"type":"outcome","id":"([^"\\]{1,64})"')


def frames_back(data: memoryview, words: Sequence[bytes] = ()) -> Iterator[Frame]:
    """Yield the records' frames that hold one of `words` (without any: all), newest first."""
    if not words:
        yield from _all_back(data)
        return
    last = len(data)
    for frame in heapq.merge(*(_holding_back(data, word) for word in words), key=lambda one: -one.offset):
        if frame.offset < last:
            last = frame.offset
            yield frame


def outcomes(data: memoryview, wanted: set[str]) -> Iterator[Frame]:
    """Yield the outcomes of decisions, whose ids are taken from `wanted` as they are found."""
    for match in _OUTCOME.finditer(_source(data)):
        name = match[1].decode()
        if name in wanted:
            frame = _frame_at(data, match.start())
            if frame is not None and frame.kind == Kind.OUTCOME:
                wanted.discard(name)
                yield frame
                if not wanted:
                    return


def _all_back(data: memoryview) -> Iterator[Frame]:
    source, end = _source(data), len(data)
    while (start := source.rfind(MARK, 0, end)) >= 0:
        frame = parse_frame(data, start)
        end = start + (frame is None)  # numbers in a frame's head may look like a mark
        if frame is not None and frame.kind < Kind.HEADER:
            yield frame


def _holding_back(data: memoryview, word: bytes) -> Iterator[Frame]:
    source, end = _source(data), len(data)
    while (found := source.rfind(word, 0, end)) >= 0:
        frame = _frame_at(data, found)
        end = found + len(word) - 1 if frame is None else frame.offset
        if frame is not None and frame.kind < Kind.HEADER:
            yield frame


def _frame_at(data: memoryview, place: int) -> Frame | None:
    """Return the sound frame that the byte at `place` belongs to."""
    source, end = _source(data), place + len(MARK)
    while (start := source.rfind(MARK, max(0, place - _FRAME_BYTES_MAX), end)) >= 0:
        frame = parse_frame(data, start)
        if frame is not None:
            return frame if frame.end > place else None
        end = start + 1
    return None


def _source(data: memoryview) -> bytes | mmap.mmap:
    """Return what a view is of: a slice would be copied, and `in` would go byte by byte."""
    source = data.obj
    assert isinstance(source, bytes | mmap.mmap)
    return source
