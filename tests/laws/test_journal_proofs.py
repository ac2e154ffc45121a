"""P1, P2 (RFC 9162 §2.1) for all sizes, against a tree made as the RFC defines it, and published vectors."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from limen.journal.merkle import EMPTY_ROOT, Frontier, leaf_hash
from limen.journal.proofs import (
    Leaves,
    consistency_path,
    has_grown,
    inclusion_path,
    root_from_inclusion,
)

# Entries and roots of the tree that Certificate Transparency's own tests use (RFC 6962 reference code).
ENTRIES = (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
sizes = st.integers(1, 300)


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


def mth(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def test_the_published_tree() -> None:
    tree = Frontier()
    assert tree.root().hex() == ROOTS[0] == EMPTY_ROOT.hex()
    for entry, root in zip(ENTRIES, ROOTS[1:], strict=True):
        tree.add(leaf_hash(bytes.fromhex(entry)))
        assert tree.root().hex() == root


def test_the_published_paths() -> None:
    leaves = Leaves([leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES])
    path = [step.hex() for step in inclusion_path(leaves, 5, 8)]
    assert path == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    grown = [step.hex() for step in consistency_path(leaves, 6, 8)]
    assert grown == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(st.integers(0, 300), st.data())
def test_a_frontier_grows_into_the_tree_of_the_rfc(size: int, data: st.DataObject) -> None:
    all_leaves, cut = hashes(size), data.draw(st.integers(0, size))
    tree = Frontier()
    for leaf in all_leaves[:cut]:
        tree.add(leaf)
    tree = Frontier.parse(cut, tree.render())
    for leaf in all_leaves[cut:]:
        tree.add(leaf)
    assert (tree.size, tree.root()) == (size, mth(all_leaves))


@given(sizes, st.data())
def test_p1_included(size: int, data: st.DataObject) -> None:
    all_leaves = hashes(size)
    first = data.draw(st.integers(0, size - 1))  # those before are known by their frontier alone
    index = data.draw(st.integers(first, size - 1))
    before = Frontier()
    for leaf in all_leaves[:first]:
        before.add(leaf)
    path = inclusion_path(Leaves(all_leaves[first:], before), index, size)
    root = mth(all_leaves)
    assert root_from_inclusion(all_leaves[index], index, size, path) == root
    other = data.draw(st.integers(0, size + 1).filter(lambda one: one != index))
    assert root_from_inclusion(all_leaves[index], other, size, path) != root
    assert root_from_inclusion(leaf_hash(b"another"), index, size, path) != root
    assert root_from_inclusion(all_leaves[index], index, size, (*path, root)) != root
    assert not path or root_from_inclusion(all_leaves[index], index, size, path[:-1]) != root


@given(sizes, st.data())
def test_p2_grown(new: int, data: st.DataObject) -> None:
    all_leaves = hashes(new)
    old = data.draw(st.integers(1, new))
    path = consistency_path(Leaves(all_leaves), old, new)
    old_root, new_root = mth(all_leaves[:old]), mth(all_leaves)
    assert has_grown(old, old_root, new, new_root, path)
    assert not has_grown(old, leaf_hash(b"another"), new, new_root, path)
    assert not has_grown(old, old_root, new, leaf_hash(b"another"), path)
    changed = list(all_leaves)
    changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"another")
    forked = consistency_path(Leaves(changed), old, new)
    assert not has_grown(old, old_root, new, mth(changed), forked)
