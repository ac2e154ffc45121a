"""The demo's bundle: real files beside this one, filled in with where the sample apps listen."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

DOMAIN = "limen.localhost"


def demo_bundle(places: Mapping[str, str]) -> dict[str, str]:
    """Return the bundle's files by relative path. `places` has the address of each app and service."""
    return {
        path: Template(text).substitute(places) if path == "limen.yaml" else text
        for path, text in _texts(files("limen.services.demo") / "bundle", "")
    }


def write_bundle(folder: Path, places: Mapping[str, str]) -> None:
    """Write the bundle into `folder`, over what is there: ports change from start to start."""
    for path, text in demo_bundle(places).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")


def _texts(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _texts(entry, f"{path}/")
        else:
            found.append((path, entry.read_text("utf-8")))
    return found
