"""Where tokens are kept: the system's keyring, or a private file where there is none.

Only keyrings that encrypt, and ask the system who is asking, count; `keyring` also has back ends that
write plain text or forget everything, and a configuration file can choose them.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limen.connect.folders import read_private, write_private
from limen.core.secret import Secret

KEYRING_SERVICE = "limen connect"
REAL_BACKENDS = frozenset(
    {
        ("keyring.backends.Windows", "WinVaultKeyring"),
        ("keyring.backends.macOS", "Keyring"),
        ("keyring.backends.SecretService", "Keyring"),
        ("keyring.backends.libsecret", "Keyring"),
        ("keyring.backends.kwallet", "DBusKeyring"),
        ("keyring.backends.kwallet", "DBusKeyringKWallet4"),
    }
)


def find_keyring() -> Any | None:
    """Return a real keyring of this system, or None."""
    try:
        import keyring

        chosen = keyring.get_keyring()
    except Exception:
        return None
    return pick_real([chosen, *getattr(chosen, "backends", ())])


def pick_real(candidates: list[Any]) -> Any | None:
    """Return the first that is known to be real."""
    known = ((type(one).__module__, type(one).__qualname__) for one in candidates)
    return next((one for one, name in zip(candidates, known, strict=True) if name in REAL_BACKENDS), None)


class Vault:
    """Keeps one token per profile."""

    def __init__(self, folder: Path, find: Callable[[], Any | None] = find_keyring) -> None:
        self._folder = folder
        self._find = find

    def save(self, name: str, token: Secret[str]) -> str:
        """Keep a token; return where: `keyring` or `file`."""
        backend = self._find()
        if backend is not None:
            try:
                backend.set_password(KEYRING_SERVICE, name, token.reveal())
                if backend.get_password(KEYRING_SERVICE, name) == token.reveal():
                    self._path(name).unlink(missing_ok=True)
                    return "keyring"
            except Exception:  # noqa: S110 - locked, refused, no session bus: then the file
                pass
        write_private(self._path(name), token.reveal().encode())
        return "file"

    def load(self, name: str, where: str) -> Secret[str] | None:
        """Return a token, None if it is gone.

        Raises:
            Refused: the file is open to others.
        """
        if where == "keyring":
            backend = self._find()
            try:
                value = backend.get_password(KEYRING_SERVICE, name) if backend is not None else None
            except Exception:
                value = None
        else:
            data = read_private(self._path(name))
            value = None if data is None else data.decode("ascii", "replace").strip()
        return Secret(value) if value else None

    def forget(self, name: str) -> None:
        """Remove a token from wherever it is."""
        self._path(name).unlink(missing_ok=True)
        backend = self._find()
        if backend is not None:
            with contextlib.suppress(Exception):  # it was not there, or cannot be asked
                backend.delete_password(KEYRING_SERVICE, name)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.token"
