"""J1 and J2: what was framed is read back; a torn end and any flipped bit are found."""

from hypothesis import given
from hypothesis import strategies as st

from limen.journal.frame import HEAD_BYTES, Damage, Frame, Kind, encode_frame, scan

payloads = st.lists(st.text(max_size=60).map(str.encode), min_size=1, max_size=8)


def framed(texts: list[bytes]) -> tuple[bytes, list[int]]:
    """Return the frames of the payloads, and where each ends."""
    data, ends = b"", []
    for position, text in enumerate(texts):
        data += encode_frame(Kind.EVENT, position, text)
        ends.append(len(data))
    return data, ends


def frames(data: bytes) -> list[Frame]:
    return [part for part in scan(data) if isinstance(part, Frame)]


@given(payloads)
def test_j1_whole(texts: list[bytes]) -> None:
    data, _ = framed(texts)
    parts = list(scan(data))
    assert [part.payload for part in parts if isinstance(part, Frame)] == texts
    assert not any(isinstance(part, Damage) for part in parts)
    assert [part.position for part in parts if isinstance(part, Frame)] == list(range(len(texts)))


@given(payloads, st.data())
def test_j2_found_a_write_torn_at_any_byte(texts: list[bytes], data: st.DataObject) -> None:
    whole, ends = framed(texts)
    cut = data.draw(st.integers(0, len(whole)))
    torn = whole[:cut]
    kept = sum(end <= cut for end in ends)
    assert [frame.payload for frame in frames(torn)] == texts[:kept]
    good = ends[kept - 1] if kept else 0
    assert [part for part in scan(torn) if isinstance(part, Damage)] == (
        [Damage(good, cut)] if cut > good else []
    )


@given(payloads, st.data())
def test_j2_found_any_flipped_bit(texts: list[bytes], data: st.DataObject) -> None:
    whole, ends = framed(texts)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << (bit % 8)
    hit = sum(end <= bit // 8 for end in ends)
    parts = list(scan(bytes(changed)))
    assert [part.payload for part in parts if isinstance(part, Frame)] == texts[:hit] + texts[hit + 1 :]
    start = ends[hit - 1] if hit else 0
    assert [part for part in parts if isinstance(part, Damage)] == [Damage(start, ends[hit])]


@given(payloads, st.binary(max_size=200), st.data())
def test_j2_found_rubbish_between_frames(texts: list[bytes], rubbish: bytes, data: st.DataObject) -> None:
    whole, ends = framed(texts)
    place = data.draw(st.sampled_from([0, *ends]))
    read = frames(whole[:place] + rubbish + whole[place:])
    assert [frame.payload for frame in read] == texts


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_that_a_requester_sends_can_pass_for_a_frame(before: str, after: str) -> None:
    forged = encode_frame(Kind.DECISION, 7, b"forged").decode("latin-1")
    payload = (before + forged + after).encode()
    record = bytearray(encode_frame(Kind.DECISION, 0, payload))
    record[HEAD_BYTES - 1] ^= 1  # the outer frame is damaged, so the scan looks inside
    assert frames(bytes(record)) == []
