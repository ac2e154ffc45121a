"""The state folder: private, findable, locked."""

import stat
from pathlib import Path

import pytest

from limen.core.errors import Conflict, Invalid, NotFound
from limen.services.state import SOCKET_PATH_MAX, StateDir, bundle_folder, read_bundle


def test_everything_in_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateDir.create(tmp_path / "state")
    for path in (state.root, state.run, state.root / "keys" / "state.key", state.assertion_key_path):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_keys_survive_a_second_start(tmp_path: Path) -> None:
    first = StateDir.create(tmp_path).key("token")
    assert StateDir.create(tmp_path).key("token") == first
    assert StateDir.create(tmp_path).key("credentials") != first


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o755)
    with pytest.raises(Invalid, match="not private"):
        StateDir.create(tmp_path / "state")


def test_sockets_have_short_paths_however_deep_the_folder_is(tmp_path: Path) -> None:
    state = StateDir.create(tmp_path / ("deep" * 30))
    assert len(str(state.socket("control"))) <= SOCKET_PATH_MAX
    assert not stat.S_IMODE(state.run.stat().st_mode) & 0o077


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    state = StateDir.create(tmp_path)
    with state.lock("control"), pytest.raises(Conflict, match="already runs"):
        state.lock("control")
    state.lock("control").close()


def test_a_command_finds_the_state_of_the_bundle_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMEN_STATE", raising=False)
    (tmp_path / "limen.yaml").write_text("domain: corp.example\n")
    (tmp_path / "policies").mkdir()
    StateDir.create(tmp_path / ".limen")
    monkeypatch.chdir(tmp_path / "policies")
    assert StateDir.find(None).root == (tmp_path / ".limen").resolve()
    assert bundle_folder(Path.cwd()) == tmp_path


def test_a_command_without_a_system_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMEN_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as refused:
        StateDir.find(None)
    assert refused.value.code == "NO_SYSTEM"
    assert "limen up" in refused.value.remedy


def test_the_environment_names_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StateDir.create(tmp_path / "elsewhere")
    monkeypatch.setenv("LIMEN_STATE", str(tmp_path / "elsewhere"))
    assert StateDir.find(None).root == (tmp_path / "elsewhere").resolve()


def test_a_bundle_is_read_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "policies" / "deep").mkdir(parents=True)
    (tmp_path / "limen.yaml").write_text("domain: a.example\n")
    (tmp_path / "policies" / "deep" / "x.cedar").write_text("// x\n")
    (tmp_path / "notes.txt").write_text("not part of it")
    assert set(read_bundle(tmp_path)) == {"limen.yaml", "policies/deep/x.cedar"}


def test_a_bundle_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "limen.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match=r"limen\.yaml"):
        read_bundle(tmp_path)
