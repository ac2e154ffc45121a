"""Laws of `limen.store.life`: a lost commit is never taken for the database that we knew."""

from hypothesis import assume, given
from hypothesis import strategies as st

from limen.store.life import EPOCH_STRIDE, Found, Home, Known, Verdict, judge, next_stride

POSITIONS = st.integers(0, 3 * EPOCH_STRIDE)
EPOCHS = st.sampled_from(["one", "two"])
PROOFS = st.sampled_from(["p", "q"])
HOMES = st.builds(Home, st.sampled_from(["a", "b"]), st.sampled_from(["01", "02"]), st.booleans())


@given(EPOCHS, EPOCHS, POSITIONS, POSITIONS, PROOFS)
def test_l1_rewound(before: str, now: str, known: int, head: int, proof: str) -> None:
    """A head below what this node knows, in any epoch, is a restore."""
    assume(head < known)
    assert judge(Known(before, known, proof), Found(now, head)) is Verdict.RESTORED


@given(EPOCHS, POSITIONS, st.integers(0, 10), PROOFS, PROOFS)
def test_l2_diverged(epoch: str, known: int, more: int, proof: str, other: str) -> None:
    """Another change at a position that this node knows is a restore, however far the head is."""
    verdict = judge(Known(epoch, known, proof), Found(epoch, known + more, other))
    assert verdict is (Verdict.SAME if proof == other else Verdict.RESTORED)


@given(st.none() | st.builds(Known, EPOCHS, POSITIONS), EPOCHS, st.integers(1, 99), HOMES, HOMES)
def test_l3_moved(known: Known | None, epoch: str, head: int, noted: Home, home: Home) -> None:
    """A database at another home is a restore: what was lost cannot be told from what it has."""
    assume(noted.place != home.place or (noted.timeline != home.timeline and not home.lossless))
    assert judge(known, Found(epoch, head, noted=noted.render(), home=home)) is Verdict.RESTORED


@given(st.lists(st.builds(Known, st.just("one"), POSITIONS), min_size=1), POSITIONS, HOMES)
def test_l4_once(nodes: list[Known], head: int, home: Home) -> None:
    """After one node began a new epoch, no other node judges the same loss a restore again."""
    beginner, *others = nodes
    begun = Found("two", next_stride(head, beginner.seq), noted=home.render(), home=home)
    for other in others:
        assume(other.seq < begun.head)
        assert judge(other, begun) is Verdict.LATER
    assert judge(beginner, begun) is Verdict.LATER


@given(st.lists(POSITIONS, min_size=1))
def test_a_new_epoch_counts_on_beyond_every_position(positions: list[int]) -> None:
    assert next_stride(*positions) > max(positions)
    assert next_stride(*positions) % EPOCH_STRIDE == 0


@given(EPOCHS, POSITIONS, HOMES)
def test_a_new_node_and_an_empty_database_are_no_restore(epoch: str, head: int, home: Home) -> None:
    assert judge(None, Found(epoch, head, noted=home.render(), home=home)) is Verdict.SAME
    assert judge(None, Found(epoch, 0, noted="elsewhere 01", home=home)) is Verdict.SAME
