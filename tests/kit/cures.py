"""Whether a command that a text tells people to run is one that the command line takes."""

import shlex
from typing import Any

import typer

from limen.cli.main import app

_COMMANDS = typer.main.get_command(app)


def runs(command: str) -> bool:
    """Return whether the command line takes it: a command with its arguments and needed options."""
    found: Any = _COMMANDS
    words = shlex.split(command)
    while hasattr(found, "commands"):
        if not words or words[0] not in found.commands:
            return False
        found = found.commands[words.pop(0)]
    if not words:
        return True  # the command is named, not written out
    needed = [one for one in found.params if one.required and one.param_type_name == "option"]
    known = {name for one in found.params for name in one.opts}
    given_options = {word for word in words if word.startswith("--")}
    arguments = [one for one in found.params if one.required and one.param_type_name == "argument"]
    plain = [
        word
        for at, word in enumerate(words)
        if not word.startswith("--") and not words[at - 1].startswith("--")
    ]
    return (
        given_options <= known
        and all(given_options & set(one.opts) for one in needed)
        and (len(plain) >= len(arguments) or not plain)
    )
