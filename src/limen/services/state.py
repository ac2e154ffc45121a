"""The state folder: where everything that Limen keeps on one machine lives, and under which names."""

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import IO

from joserfc.jwk import ECKey

from limen.core.catalogue import NAMED_FILES
from limen.core.errors import Conflict, Invalid, NotFound
from limen.core.secret import Secret
from limen.journal.private_file import create_private
from limen.store.sealing import create_state_key, derive_key, load_state_key

SOCKET_PATH_MAX = 100  # bytes; sockaddr_un holds 108, and Envoy adds a little of its own
BUNDLE_FILE = "limen.yaml"
BUNDLE_PARTS = ("policies", "tests", "certificates")
DEFAULT_FOLDER = ".limen"


class StateDir:
    """Names and keys below one folder, which only its owner can enter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run = _run_folder(root)

    @classmethod
    def create(cls, root: Path) -> "StateDir":
        """Open the folder, making it and its keys if it is new.

        Raises:
            Invalid: the folder belongs to, or is open to, somebody else.
        """
        root = root.resolve()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = root.stat()
        if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o077:
            raise Invalid(
                f"The state folder {root} is not private to the user who runs Limen.",
                remedy=f"Run: chown {os.geteuid()} {root} && chmod 700 {root}",
            )
        state = cls(root)
        for part in ("keys", "ca", "envoy", "journal", "log", "replica"):
            (root / part).mkdir(mode=0o700, exist_ok=True)
        _private_folder(state.run)
        state_key = state.root / "keys" / "state.key"
        if not state_key.exists():
            with contextlib.suppress(FileExistsError):  # another process was first
                create_state_key(state_key)
        if not state.assertion_key_path.exists():
            create_private(state.assertion_key_path, ECKey.generate_key("P-256").as_pem(private=True))
        return state

    @classmethod
    def find(cls, given: Path | None) -> "StateDir":
        """Return the state that a command means: `--state`, `LIMEN_STATE`, or this folder's bundle.

        Raises:
            NotFound: none of the three leads to a state folder.
        """
        root = given or _from_environment() or _from_bundle(Path.cwd())
        if root is None or not (root / "keys").is_dir():
            where = (
                f"{root} is not a state folder" if root else "this folder holds no bundle that was started"
            )
            raise NotFound(
                f"No Limen system found: {where}.",
                remedy="Start one with `limen up`, or say where it is: --state DIR or LIMEN_STATE.",
                code="NO_SYSTEM",
            )
        return cls(root.resolve())

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "limen.db"

    @property
    def assertion_key_path(self) -> Path:
        """This gateway's ES256 key, which signs identity assertions."""
        return self.root / "keys" / "assertion.pem"

    @property
    def journal(self) -> Path:
        """The folder of all nodes' journals."""
        return self.root / "journal"

    def socket(self, name: str) -> Path:
        """Return the path of the Unix socket `name` (admin, control, feed, check, gateway)."""
        return self.run / f"{name}.sock"

    def key(self, purpose: str) -> Secret[bytes]:
        """Return the key of one purpose of `limen.store.sealing`."""
        return derive_key(load_state_key(self.root / "keys" / "state.key"), purpose)

    def lock(self, name: str) -> IO[str]:
        """Take an exclusive lock that lives as long as the returned file.

        Raises:
            Conflict: another process holds it.
        """
        handle = (self.run / f"{name}.lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise Conflict(
                f"Limen ({name}) already runs on the state folder {self.root}.",
                remedy="Stop it first, or give this one another folder with --state DIR.",
                code="ALREADY_RUNNING",
            ) from None
        return handle


def bundle_folder(start: Path) -> Path | None:
    """Return `start` or the nearest folder above it that holds a `limen.yaml`."""
    for folder in (start, *start.parents):
        if (folder / BUNDLE_FILE).is_file():
            return folder
    return None


def read_bundle(folder: Path) -> dict[str, str]:
    """Return the files of a bundle folder by relative path. What does not belong there, the parser refuses.

    Raises:
        NotFound: there is no `limen.yaml`.
        Invalid: a file is not UTF-8 text.
    """
    if not (folder / BUNDLE_FILE).is_file():
        raise NotFound(f"{folder} holds no {BUNDLE_FILE}.", remedy="Make a bundle with `limen init`.")
    endings = (".cedar", ".yaml", *NAMED_FILES)
    paths = {folder / BUNDLE_FILE, *(path for ending in endings for path in folder.glob(f"*{ending}"))}
    for part in BUNDLE_PARTS:
        paths.update(
            path for path in (folder / part).rglob("*") if path.is_file() and not _hidden(path, folder)
        )
    files: dict[str, str] = {}
    for path in sorted(paths):
        try:
            files[path.relative_to(folder).as_posix()] = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"{path} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    return files


def _hidden(path: Path, folder: Path) -> bool:
    """Whether an editor or a version control system put it there."""
    return any(part.startswith(".") or part.endswith("~") for part in path.relative_to(folder).parts)


def _from_environment() -> Path | None:
    value = os.environ.get("LIMEN_STATE")
    return Path(value) if value else None


def _from_bundle(start: Path) -> Path | None:
    folder = bundle_folder(start)
    return folder / DEFAULT_FOLDER if folder else None


def _run_folder(root: Path) -> Path:
    """Sockets live in `root/run`, or, where that path is too long for a socket, in a short twin."""
    run = root / "run"
    if len(str(run).encode()) + len("/control.sock") <= SOCKET_PATH_MAX:
        return run
    name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"limen-{os.geteuid()}-{name}"


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    private = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o077
    if not private:
        raise Invalid(
            f"The folder {folder} for Limen's sockets is not private.", remedy="Remove it, and start again."
        )
