"""The bundle that `limen init` writes, and guardrails to choose from, as package data.

Every guardrail says in a comment which requirement it serves; all of them lint clean.
"""

from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

DOMAIN_MARK = "DOMAIN"  # stands in the files where the domain goes


def starter_files(domain: str) -> dict[str, str]:
    """Return the commented bundle that `limen init` writes, as text by relative path."""
    return {
        path: text.replace(DOMAIN_MARK, domain)
        for path, text in _texts(resources.files(__name__))
        if not path.startswith("library/")
    }


def library() -> Mapping[str, str]:
    """Return guardrails for labels and kinds of people, as Cedar text by name (`phi`, `contractors`)."""
    folder = resources.files(__name__) / "library"
    return {path.removesuffix(".cedar"): text for path, text in _texts(folder)}


def _texts(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".cedar", ".yaml")):
            yield f"{prefix}{entry.name}", entry.read_text("utf-8")
