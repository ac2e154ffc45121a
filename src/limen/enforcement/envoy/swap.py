"""Bringing a configuration into force: validated before, watched after, undone if Envoy refuses (law E3)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from limen.core.errors import LimenError, Refused
from limen.enforcement.envoy.admin import EnvoyAdmin
from limen.enforcement.envoy.files import Configuration, Discovery, both, render_endpoints, write_private
from limen.enforcement.envoy.settings import EnvoySettings

POLL_S = 0.02  # between two questions to Envoy while something is expected of it
ADOPT_TIMEOUT_S = 10.0  # from a file's rename to Envoy's word on it
WORDS_MAX = 500  # characters of Envoy's own explanation that an error repeats


Beside = Callable[[], Mapping[str, Discovery]]
"""Returns further watched files as they ought to be now: a joined gateway's identity."""


class ConfigurationSwap:
    """The files of one Envoy. `said` returns the last lines of Envoy's log."""

    def __init__(
        self,
        settings: EnvoySettings,
        admin: EnvoyAdmin,
        said: Callable[[], Sequence[str]],
        beside: Beside = dict,
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._said = said
        self._beside = beside

    async def validate(self, configuration: Configuration) -> None:
        """Ask the program itself, offline.

        Raises:
            Refused: it does not accept the configuration.
        """
        named = {
            "sds": configuration.sds,
            "sds_machines": configuration.sds_machines,
            **render_endpoints(self._settings),
            **self._beside(),
        }
        for name, content in named.items():  # by what is validated, so they have to be there
            if not self._settings.file(name).exists():
                self.write(name, content)
        path = self._settings.file("candidate")
        write_private(path, configuration.validation(self._settings))
        arguments = ("--mode", "validate", "-c", str(path), "--log-level", "error", "--disable-hot-restart")
        process = await asyncio.create_subprocess_exec(
            str(self._settings.binary),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        path.unlink()
        if process.returncode != 0:
            lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines()]
            raise _refused(f"Envoy does not accept the configuration: {_last(lines)}")

    def install(self, configuration: Configuration) -> None:
        """Write all files for an Envoy that is not running."""
        for name in ("sds", "sds_machines", "cds", "lds", "rds"):
            self.write(name, getattr(configuration, name))
        for name, content in {**render_endpoints(self._settings), **self._beside()}.items():
            self.write(name, content)
        write_private(self._settings.file("bootstrap"), configuration.encode_bootstrap())

    async def replace(self, old: Configuration, new: Configuration) -> tuple[str, ...]:
        """Replace what differs under a running Envoy; return the files changed, in order.

        A route never names a cluster that is not there yet, or no longer: clusters come first and go last.

        Raises:
            Refused: Envoy did not take a part; the old files are back.
        """
        union = both(old.cds, new.cds)
        trust = new.sds_machines if new.sds_machines.resources else old.sds_machines
        if not old.sds_machines.resources:  # the listener that reads it comes after it
            self.write("sds_machines", new.sds_machines)
            trust = old.sds_machines
        steps = (
            ("sds", old.sds, new.sds),
            ("sds_machines", old.sds_machines, trust),
            ("cds", old.cds, union),
            ("lds", old.lds, new.lds),
            ("rds", old.rds, new.rds),
            ("cds", union, new.cds),
        )
        done: list[tuple[str, Discovery]] = []
        for name, before, after in steps:
            if before.version == after.version:
                continue
            done.append((name, before))
            try:
                await self._swap(name, after)
            except LimenError:
                for earlier, content in reversed(done):
                    self.write(earlier, content)
                raise
        if not new.sds_machines.resources:  # and goes before it
            self.write("sds_machines", new.sds_machines)
        return tuple(dict.fromkeys(name for name, _ in done))

    async def move(self) -> None:
        """Have a running Envoy ask this process from now on. What another one holds stays with it.

        Raises:
            Refused: Envoy did not take the addresses.
            Unavailable: it does not answer.
        """
        for name, content in render_endpoints(self._settings).items():
            if (await self._admin.subscriptions())[name].version != content.version:
                await self._swap(name, content)
            else:
                self.write(name, content)

    def refresh_beside(self) -> None:
        """Replace those further files that are not as they ought to be."""
        for name, content in self._beside().items():
            path = self._settings.file(name)
            if not path.exists() or path.read_bytes() != content.encode():
                self.write(name, content)

    def write(self, name: str, content: Discovery) -> None:
        """Write one watched file."""
        write_private(self._settings.file(name), content.encode())

    async def _swap(self, name: str, content: Discovery) -> None:
        """Replace one file and wait for Envoy's word on it."""
        before = (await self._admin.subscriptions())[name]

        async def answered() -> bool:
            seen = (await self._admin.subscriptions())[name]
            return seen.version == content.version or seen.rejected > before.rejected

        self.write(name, content)
        await until(answered, ADOPT_TIMEOUT_S)
        if (await self._admin.subscriptions())[name].version != content.version:
            raise _refused(f"Envoy did not take the new {name.upper()} file: {_last(self._said())}")


async def until(true: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Ask until the answer is yes; return whether it was, within `timeout_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            # Another process answers, so there is no event to wait for.
            while not await true():  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            return True
    return False


def _refused(message: str) -> Refused:
    return Refused(
        message,
        remedy="The last good configuration stays in force; correct the bundle and apply it again.",
        code="ENVOY_REFUSED",
    )


def _last(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip()]
    return said[-1][:WORDS_MAX] if said else "it said nothing."
