"""What the documentation tells people to type is what the program understands."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_rig import Limen
from typer.exceptions import TyperException

from limen.cli.main import app
from limen.store.directory.csv_rows import COLUMNS

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(limen [a-z][^`|…]*)`")
FILES = ("people.csv", "ca.pem")  # which the guides name


def commands() -> list[tuple[str, str]]:
    """Return every `limen …` of the documentation, with its page."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        shell = [part for line in lines for part in re.findall(r"(?:^ *|\$\(|&& )(limen [^)&#\n]+)", line)]
        found |= {(page.name, command.strip()) for command in (*shell, *INLINE.findall(text))}
    return sorted(found)


@cache
def program() -> Any:
    """Return the whole command line, which takes a while to make."""
    return typer.main.get_command(app)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 40


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda part: str(part))
def test_a_command_of_the_documentation_is_one_that_exists(
    page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text("")
    _, *arguments = shlex.split(command)
    current = program()
    while arguments and arguments[0] in getattr(current, "commands", {}):
        current = current.commands[arguments.pop(0)]
    placeholders = {"SERIAL": "1"}
    arguments = [placeholders.get(part, part) for part in arguments]
    if not arguments:
        return  # only named, as `limen protect` is in a sentence
    try:
        current.make_context("limen", arguments)
    except TyperException as error:
        pytest.fail(f"{page}: {command}: {error}")


def test_the_guide_names_the_columns_that_an_import_reads() -> None:
    guide = (ROOT / "docs" / "how-to" / "people-and-groups.md").read_text()
    for column in COLUMNS:
        assert column in guide, column


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    def walk(command: object, path: tuple[str, ...]) -> None:
        with pytest.raises(SystemExit) as left:
            program().main([*path, "--help"], prog_name="limen")
        assert left.value.code == 0 and "Usage: " in capsys.readouterr().out, path
        for name, child in getattr(command, "commands", {}).items():
            assert child.help, (*path, name)
            walk(child, (*path, name))

    walk(program(), ())


def test_no_argument_and_version(limen: Limen) -> None:
    assert "Usage: " in limen().out + limen().err
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", limen("--version").out)
