"""N1, N2: signed notes, verifier keys and checkpoints, parsed strictly; vectors of the C2SP documents."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from limen.core.clock import FakeClock
from limen.core.errors import Invalid
from limen.journal import checkpoints
from limen.journal.checkpoints import (
    Checkpoint,
    CheckpointWriter,
    append_note,
    open_checkpoint,
    parse_checkpoint,
    read_notes,
)
from limen.journal.merkle import Frontier, leaf_hash
from limen.journal.note import Algorithm, Note, NoteRefused, Signer, VerifierKey, parse_note, verify_note
from limen.journal.segments import BootTree

# The key and note of Go's golang.org/x/mod/sumdb/note, on which C2SP signed-note is built.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SAYS = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BOOT = "00000003-0123abcd"
names = st.from_regex(r"limen\.[0-9a-f]{16}/[a-z][a-z0-9-]{0,20}", fullmatch=True)


def signer(name: str = "limen.0123456789abcdef/gateway-a", seed: int = 7) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_the_published_note() -> None:
    key = VerifierKey.parse(PETER)
    assert (key.name, key.algorithm, str(key)) == ("PeterNeumann", Algorithm.ED25519, PETER)
    note = parse_note(PETER_SAYS.encode())
    assert str(note) == PETER_SAYS
    assert verify_note(note, key) is None
    with pytest.raises(NoteRefused, match="false"):
        verify_note(Note(note.text.replace("think", "thinc"), note.signatures), key)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n— name AAAA\n",  # four bytes: no signature
        "text\n\n- name AAAAAAA=\n",
        "text\n\n— name AAAAAAA=",
        "text\n\n—  AAAAAAA=\n",
        "text\n\n— na+me AAAAAAA=\n",
        "text\n\n— na\u00a0me AAAAAAA=\n",
        "text\n\n— name AAAAAAB=\n",  # bits that base64 ignores
        "te\rxt\n\n— name AAAAAAA=\n",
        "text\n\n" + "— name AAAAAAA=\n" * 17,
        "text\n\n— name AAAAAAA=\n\n",
    ],
)
def test_what_is_no_note_is_refused(broken: str) -> None:
    with pytest.raises(NoteRefused):
        parse_note(broken.encode())


def test_bytes_that_are_no_text_and_notes_that_are_too_large_are_refused() -> None:
    with pytest.raises(NoteRefused, match="UTF-8"):
        parse_note(b"\xff\n\n\xe2\x80\x94 name AAAAAAA=\n")
    with pytest.raises(NoteRefused, match="larger"):
        parse_note(b"x" * 70_000)


@pytest.mark.parametrize(
    "text", ["", "name", "name+00000000+AQ==", PETER.replace("c74f20a3", "c74f20a4"), PETER + "=", PETER[:-2]]
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        VerifierKey.parse(text)


@given(names, st.integers(0, 255), st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=1))
def test_n1_exact(name: str, seed: int, line: str) -> None:
    own = signer(name, seed)
    text = f"{line}\n"
    note = Note(text, (own.sign(text), own.cosign(text, 1_700_000_000)))
    assert parse_note(str(note).encode()) == note
    for algorithm in Algorithm:
        assert VerifierKey.parse(str(own.key(algorithm))) == own.key(algorithm)


@given(st.integers(1, 255), st.integers(0, 2**63 - 1))
def test_n2_known_keys_alone(seed: int, at: int) -> None:
    own, other = signer(seed=0), signer(seed=seed)
    note = Note("text\n", (own.sign("text\n"), own.cosign("text\n", at)))
    assert verify_note(note, own.key()) is None
    assert verify_note(note, own.key(Algorithm.COSIGNATURE)) == at
    for algorithm in Algorithm:
        with pytest.raises(NoteRefused, match="not signed by"):
            verify_note(note, other.key(algorithm))
    for changed in (Note("texu\n", note.signatures), Note("text\n\n", note.signatures)):
        for algorithm in Algorithm:
            with pytest.raises(NoteRefused, match="false"):
                verify_note(changed, own.key(algorithm))


def test_a_cosignature_is_of_its_time() -> None:
    own = signer()
    signed = own.cosign("text\n", 1000)
    later = (1001).to_bytes(8, "big") + signed.signed[8:]
    forged = Note("text\n", (type(signed)(signed.name, signed.key_id, later),))
    with pytest.raises(NoteRefused, match="false"):
        verify_note(forged, own.key(Algorithm.COSIGNATURE))


def test_a_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    first = Signer.load(path, "limen.0123456789abcdef/control")
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(Signer.load(path, "another").key()) == str(first.key())
    assert base64.b64encode(b"").decode() == ""
    path.write_text("PRIVATE+KEY+name+00000000+AAAA\n")
    with pytest.raises(Invalid, match="damaged"):
        Signer.load(path, "name")


@given(
    names,
    st.integers(0, 2**62),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**40),
    st.none() | st.builds(BootTree, st.just(BOOT), st.integers(0, 99), st.sampled_from(["", "ab" * 32])),
)
def test_checkpoints_are_parsed_exactly(
    name: str, size: int, root: bytes, at: int, after: BootTree | None
) -> None:
    checkpoint = Checkpoint(signer(name).key(), BOOT, size, root, at, after)
    assert parse_checkpoint(checkpoint.render()) == checkpoint
    assert checkpoint.node == name.rpartition("/")[2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n5\n", "\n05\n"),
        ("\n5\n", "\n-5\n"),
        ("\n5\n", "\n٥\n"),
        (f"/{BOOT}\n", "/another\n"),
        ("gateway-a/", "gateway-b/"),
        ("at 9", "at 09"),
        ("at 9", "on 9"),
        ("key limen", "key  limen"),
        ("after ", "after  "),
    ],
)
def test_what_is_no_checkpoint_is_refused(old: str, new: str) -> None:
    text = Checkpoint(signer().key(), BOOT, 5, b"r" * 32, 9, BootTree(BOOT, 1)).render()
    assert old in text
    with pytest.raises(NoteRefused):
        parse_checkpoint(text.replace(old, new, 1))


def test_a_checkpoint_must_be_signed_by_the_key_that_it_names() -> None:
    text = Checkpoint(signer().key(), BOOT, 5, b"r" * 32, 9).render()
    assert open_checkpoint(str(Note(text, (signer().sign(text),))).encode()).checkpoint.size == 5
    with pytest.raises(NoteRefused):
        open_checkpoint(str(Note(text, (signer(seed=8).sign(text),))).encode())


def test_checkpoints_come_each_five_seconds_and_when_they_must(tmp_path: Path) -> None:
    clock, tree = FakeClock(), Frontier()
    writer = CheckpointWriter(tmp_path, signer(), clock, BOOT, None)

    def sizes() -> list[int]:
        notes = read_notes(tmp_path / checkpoints.CHECKPOINTS).notes
        return [open_checkpoint(note).checkpoint.size for note in notes]

    writer.offer(tree, now=clock.now())
    assert sizes() == [0]  # what this boot goes on from is signed at once
    for step in range(12):
        clock.advance(1)
        tree.add(leaf_hash(b"%d" % step))
        writer.offer(tree, now=clock.now())
    assert sizes() == [0, 5, 10]
    writer.offer(tree, now=clock.now(), at_once=True)
    writer.offer(tree, now=clock.now(), at_once=True)
    assert sizes() == [0, 5, 10, 12]


def test_a_file_of_checkpoints_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FILE_BYTES_MAX", 10_000)
    monkeypatch.setattr(checkpoints, "NOTES_KEPT", 5)
    path, own, sizes = tmp_path / "checkpoints", signer(), []
    for boot in ("00000001-00000000", "00000002-00000000"):
        for size in range(40):
            text = Checkpoint(own.key(), boot, size, b"r" * 32, 9).render()
            append_note(path, Note(text, (own.sign(text),)))
    kept = [open_checkpoint(note).checkpoint for note in read_notes(path).notes]
    sizes = [(one.boot[7], one.size) for one in kept]
    assert sizes[0] == ("1", 39)
    assert sizes[-1] == ("2", 39)
    assert path.stat().st_size <= 10_500
    assert [one.size for one in kept[1:]] == list(range(kept[1].size, 40))
    tail = read_notes(path, tail_bytes=1000).notes
    assert tail == read_notes(path).notes[-len(tail) :]
    assert len(tail) in {2, 3}
