"""`limen audit verify | prove | key` on a state folder, and the stand-alone script that checks a proof."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_forger import find, frames_of
from journal_rig import JournalRig
from typer.testing import CliRunner, Result

from limen.cli.main import app
from limen.core.errors import Invalid, NotFound
from limen.journal.checkpoints import CHECKPOINTS, read_notes
from limen.journal.note import VerifierKey
from limen.journal.segments import list_segments

SCRIPT = Path(__file__).parents[3] / "docs" / "how-to" / "check_proof.py"
NODE = "gateway-a"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JournalRig:
    rig = JournalRig(tmp_path_factory.mktemp("state"))
    countersigner = rig.countersigner()
    for _ in range(2):
        rig.boot(NODE, 23)
        countersigner.tick()
    rig.close()
    return rig


@pytest.fixture
def rig(template: JournalRig, tmp_path: Path) -> Iterator[JournalRig]:
    copied = template.copy(tmp_path / "state")
    yield copied
    copied.close()


def audit(rig: JournalRig, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments, "--state", str(rig.root)])


def refusal(result: Result) -> Invalid:
    assert isinstance(result.exception, Invalid)
    return result.exception


def check(proof: Path, key: VerifierKey | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), str(proof), str(key)], capture_output=True, text=True)


def test_a_whole_log(rig: JournalRig) -> None:
    result = audit(rig, "verify", "--witness", str(rig.witness), "--key", str(rig.control_key))
    assert result.exit_code == 0, result.output
    assert "The log is whole: 46 records of 1 nodes." in result.output
    report = json.loads(audit(rig, "verify", "--json").output)
    assert report["whole"] is True
    assert report["nodes"][0]["countersigned_size"] == 23


def test_any_doubt_is_an_error_that_names_the_place(rig: JournalRig) -> None:
    path, frame = find(rig.journal / NODE, "000009")
    data = bytearray(path.read_bytes())
    data[frame.offset + 90] ^= 1
    path.write_bytes(data)
    result = audit(rig, "verify")
    assert refusal(result).code == "AUDIT_DOUBT"
    assert "record 8 (dec-gateway-a-000009): damaged" in result.output
    (doubt,) = json.loads(audit(rig, "verify", "--json").output)["doubts"]
    assert doubt["problem"] == "damaged"


def test_another_key_than_the_one_kept_elsewhere_is_a_doubt(rig: JournalRig, tmp_path: Path) -> None:
    strange = JournalRig(tmp_path / "strange").control_key
    result = audit(rig, "verify", "--key", str(strange))
    assert refusal(result).code == "AUDIT_DOUBT"


def test_a_copy_without_keys_is_verified_by_the_public_key(rig: JournalRig) -> None:
    shutil.rmtree(rig.keys)
    assert audit(rig, "verify").exit_code == 0
    assert audit(rig, "verify", "--key", audit(rig, "key", "--json").output.split('"')[7]).exit_code == 0


def test_since_a_checkpoint_that_was_kept(rig: JournalRig, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(read_notes(rig.countersigned / NODE).notes[0] + b"\n")
    assert audit(rig, "verify", "--since", str(kept)).exit_code == 0
    missing = audit(rig, "verify", "--since", str(tmp_path / "nothing"))
    assert isinstance(missing.exception, NotFound)


def test_keys_are_printed(rig: JournalRig) -> None:
    rows = json.loads(audit(rig, "key", "--json").output)
    assert rows[0]["key"] == str(rig.control_key)
    assert [row["who"] for row in rows[1:]] == [NODE]


@pytest.mark.parametrize("number", [1, 9, 23, 24, 46])
def test_a_proof_is_checked_with_the_public_key_alone(rig: JournalRig, tmp_path: Path, number: int) -> None:
    proof, name = tmp_path / "proof.json", f"dec-{NODE}-{number:06d}"
    assert audit(rig, "prove", name, "--out", str(proof)).exit_code == 0
    checked = check(proof, rig.control_key)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout.split("\n")[1])["id"] == name


def test_a_record_that_only_the_next_boot_signed_for_is_proven_by_it(rig: JournalRig, tmp_path: Path) -> None:
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 12)
        dead = rig.copy(tmp_path / "dead")  # two records after its last checkpoint
    countersigner = dead.countersigner()
    dead.boot(NODE, 3)
    countersigner.tick()
    proof = tmp_path / "proof.json"
    assert audit(dead, "prove", f"dec-{NODE}-000058", "--out", str(proof)).exit_code == 0
    assert json.loads(proof.read_text())["tree"] == "after"
    assert check(proof, dead.control_key).returncode == 0
    dead.close()


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("record", lambda value: value.replace("allow", "deny")),
        ("index", lambda value: value + 1),
        ("index", lambda value: value + 1000),
        ("node", lambda _: "gateway-b"),
        ("boot", lambda _: "00000001-00000000"),
        ("path", lambda value: value[:-1]),
        ("path", lambda value: [*value, "00" * 32]),
        ("checkpoint", lambda value: value.replace("\n23\n", "\n24\n")),
        ("checkpoint", lambda value: value.replace("/gateway-a", "/gateway-b")),
    ],
)
def test_a_changed_proof_does_not_hold(rig: JournalRig, tmp_path: Path, member: str, change: object) -> None:
    path = tmp_path / "proof.json"
    audit(rig, "prove", f"dec-{NODE}-000009", "--out", str(path))
    proof = json.loads(path.read_text())
    proof[member] = change(proof[member])  # type: ignore[operator]
    path.write_text(json.dumps(proof))
    assert check(path, rig.control_key).returncode != 0


def test_a_proof_holds_for_no_other_key(rig: JournalRig, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    audit(rig, "prove", f"dec-{NODE}-000009", "--out", str(path))
    strange = JournalRig(tmp_path / "strange").control_key
    assert check(path, strange).returncode != 0
    node = json.loads(audit(rig, "key", "--json").output)[1]["key"]
    assert check(path, node).returncode == 0  # the node has signed it as well


def test_the_script_is_short() -> None:
    assert len(SCRIPT.read_text("utf-8").splitlines()) <= 60


def test_what_cannot_be_proven_says_why(rig: JournalRig) -> None:
    assert isinstance(audit(rig, "prove", "dec-none").exception, NotFound)
    with rig.open(NODE) as journal:
        rig.write(journal, NODE, 3, every=100)
        fresh = audit(rig, "prove", f"dec-{NODE}-000049")
        assert refusal(fresh).code == "NOT_SIGNED_YET"
    signed = audit(rig, "prove", f"dec-{NODE}-000049")  # by the node, at its close
    assert "Control has not countersigned" in signed.output
    name = list_segments(rig.journal / NODE)[0]
    frame = frames_of(name.path)[4]
    data = bytearray(name.path.read_bytes())
    data[frame.offset + 60] ^= 1
    name.path.write_bytes(data)
    changed = audit(rig, "prove", f"dec-{NODE}-000002")
    assert refusal(changed).code == "JOURNAL_INCONSISTENT"
    (rig.journal / NODE / CHECKPOINTS).unlink()
