"""Reading a directory apart: its answers are decoded in a child process, and control goes on serving."""

from collections.abc import Callable
from typing import Any

import msgspec

from limen.administrator.apart import run_apart
from limen.core.identity_config import LdapConfig
from limen.core.secret import Secret
from limen.information.identity.ldap_values import DirectoryRead

WORK = f"{__name__}:work"

Read = Callable[[LdapConfig, Secret[str] | None], DirectoryRead]
"""Reads a directory whole. Raises `Unavailable` or `Invalid`."""


class Job(msgspec.Struct, frozen=True):
    """What to read. The password goes over a pipe: never in arguments, never in the environment."""

    config: LdapConfig
    password: str | None


def read_apart(config: LdapConfig, password: Secret[str] | None) -> DirectoryRead:
    """Return all that a directory lists, read in a process of its own.

    Raises:
        LimenError: as `read_directory`.
    """
    job = Job(config, password.reveal() if password is not None else None)
    return msgspec.convert(run_apart(WORK, msgspec.to_builtins(job), asked=False), DirectoryRead)


def work(raw: Any, tell: Callable[[int, int], None]) -> Any:
    """Do a job; in the child, which alone needs the LDAP client."""
    from limen.information.identity.ldap import read_directory

    job = msgspec.convert(raw, Job)
    password = Secret(job.password) if job.password is not None else None
    return msgspec.to_builtins(read_directory(job.config, password, tell=lambda count: tell(count, 0)))
