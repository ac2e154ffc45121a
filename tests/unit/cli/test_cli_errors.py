"""An error is one sentence and a remedy on stderr, nothing on stdout, and exit code 1."""

from pathlib import Path

import pytest
from cli_rig import Done, Limen

REFUSED = {
    "user show nobody": "nobody",
    "user add ADA!": "ADA!",
    "user add zoe --group nowhere": "nowhere",
    "user add zoe --expires soon": "--expires: 'soon' is not a date.",
    "user set nobody --status suspended": "nobody",
    "user set ada": "Nothing to change.",
    "user set ada --attribute department": "--attribute: 'department' has no '='.",
    "user link nobody": "nobody",
    "user list --group nowhere": "nowhere",
    "group show nowhere": "nowhere",
    "group add-member nowhere ada": "nowhere",
    "group add-member staff nobody": "nobody",
    "group nest staff staff": "circle",
    "group remove nowhere": "nowhere",
    "session end ses_none": "ses_none",
    "session end --user nobody": "nobody",
    "decisions show none": "none",
    "decisions search --since 3w": "--since: '3w' is not a duration.",
    "policy rollback 99": "99",
    "policy explain nobody read wiki": "nobody",
    "policy explain ada read nowhere": "nowhere",
    "policy explain ada read wiki --auth-age x": "--auth-age",
    "policy who-can read nowhere": "nowhere",
    "policy apply": "No limen.yaml here or above.",
    "policy check": "No limen.yaml here or above.",
    "protect http://127.0.0.1:9 --name a": "No limen.yaml here or above.",
    "up": "No limen.yaml here or above.",
    "secret set empty": "The value of empty is empty.",
    "secret remove nowhere": "nowhere",
    "gateway --state . --port 0": "--port",
    "token --app wiki": "Username is missing.",
}


def assert_refused(done: Done, says: str) -> None:
    assert done.code == 1
    assert done.out == ""
    first, *rest = done.err.splitlines()
    assert first.startswith("limen: ") and first.endswith("."), done.err
    assert says in first
    assert len(rest) == 1 and rest[0].startswith("       "), f"no remedy: {done.err}"
    assert rest[0].strip()[0].isupper() and rest[0].endswith("."), rest


@pytest.fixture(autouse=True)
def nobody_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIMEN_USERNAME", "LIMEN_PASSWORD", "LIMEN_CODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", REFUSED)
def test_a_refusal_is_one_sentence_with_a_remedy(system: Limen, command: str) -> None:
    system("user", "add", "ada", "--group", "staff")
    assert_refused(system(*command.split()), REFUSED[command])


@pytest.mark.parametrize(
    "command",
    ["user list", "status", "session list", "policy history", "decisions tail", "trust", "token --app a"],
)
def test_where_no_system_is_the_remedy_says_how_to_name_one(limen: Limen, command: str) -> None:
    done = limen(*command.split())
    assert_refused(done, "No Limen system found")
    assert "--state DIR or LIMEN_STATE" in done.err


@pytest.mark.parametrize("command", ["user list", "status", "decisions search", "decisions tail"])
def test_a_system_that_does_not_run_is_told_from_one_that_is_not_there(
    limen: Limen, tmp_path: Path, command: str
) -> None:
    (tmp_path / "s" / "keys").mkdir(parents=True)
    done = limen(*command.split(), "--state", str(tmp_path / "s"))
    assert_refused(done, "does not answer")
    assert "limen up" in done.err


def test_the_state_of_this_folders_bundle_is_found_from_within_it(
    limen: Limen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limen("init", "guarded").code == 0
    monkeypatch.chdir(tmp_path / "guarded" / "policies")
    assert_refused(limen("status"), str(tmp_path / "guarded" / ".limen"))


def test_what_the_machine_refuses_is_a_sentence_too(limen: Limen, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(limen("init", "file/below"), "file")
    (tmp_path / "bundle.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "s" / "keys").mkdir(parents=True)
    assert_refused(limen("user", "import", "bundle.csv", "--state", "s"), "is not UTF-8 text.")


def test_wrong_usage_exits_with_2_and_says_how_it_is_used(limen: Limen) -> None:
    for command in (["user", "add"], ["user", "list", "--statsu", "x"], ["session", "end"], ["frobnicate"]):
        done = limen(*command)
        assert (done.code, done.out) == (2, ""), command
        assert "Usage: " in done.err


def test_a_ca_file_that_is_none_is_named(
    limen: Limen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMEN_USERNAME", "ada")
    (tmp_path / "ca.pem").write_text("no certificate")
    where = ("--auth-url", "https://auth.localhost:1", "--ca-file", "ca.pem")
    assert_refused(limen("token", "--app", "a", *where), "ca.pem holds no certificate.")
    monkeypatch.setenv("LIMEN_PASSWORD", "x")
    assert_refused(limen("token", "--app", "a", *where[:2]), "auth.localhost:1 cannot be reached")


def test_an_import_names_every_wrong_line_and_imports_nothing(system: Limen, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("username,groups,kind\nyan,staff,employee\nBAD NAME,staff,employee\nyul,staff,visitor\n")
    for more in ([], ["--dry-run"]):
        done = system("user", "import", str(file), *more)
        assert done.code == 1
        assert [line.split(" ")[0] for line in done.out.splitlines()] == [f"{file}:3:", f"{file}:4:"]
        assert "nothing was imported" in done.err
    assert system("user", "show", "yan").code == 1


def test_a_dry_run_says_what_an_import_then_does(system: Limen, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("username,groups,kind\nyara,staff,employee\nyves,staff;guests,employee\n")
    would = system("user", "import", str(file), "--dry-run")
    assert "2 would be added: yara, yves" in would.out
    assert system("user", "show", "yara").code == 1
    did = system("user", "import", str(file))
    assert did.out == would.out.replace("would be", "was")
    assert system("user", "import", str(file)).out == "2 unchanged.\n"
