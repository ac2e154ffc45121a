"""Where this program keeps what it knows: one private folder, and files that only their owner reads."""

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from limen.core.errors import Refused

VARIABLE = "LIMEN_CONFIG_DIR"


def config_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the folder, as each platform has it. It may not exist yet."""
    if chosen := environment.get(VARIABLE):
        return Path(chosen)
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "limen"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "limen"
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "limen"


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner reads (on Windows: as the folder of the profile is), whole or not."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # 0600 from the start
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def read_private(path: Path) -> bytes | None:
    """Return a file's content, None if there is none.

    Raises:
        Refused: others could have read or written it, or it is a link.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.", remedy="Log in again.") from None
    with os.fdopen(handle, "rb") as file:
        seen = os.fstat(file.fileno())
        if sys.platform != "win32" and (seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o077):
            raise Refused(
                f"{path} is open to others, so what it holds may be known to them.",
                remedy="Log out, and log in again.",
                code="TOKEN_EXPOSED",
            )
        return file.read()
