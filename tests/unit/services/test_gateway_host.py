"""The host's upgrade against brains that stand, yield, serve, refuse, fall silent or die, at every step."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from limen.services.gateway_host import Host
from limen.services.gateway_options import GatewayOptions
from limen.services.gateway_slot import Phase, Slot
from limen.services.gateway_status import read_status
from limen.services.gateway_words import Activate, Order

SILENT = None
stands = st.sampled_from((Phase.STANDING, Phase.ENDED, SILENT))
yields = st.sampled_from((Phase.YIELDED, Phase.ENDED, SILENT))
serves = st.sampled_from((Phase.SERVING, Phase.ENDED, SILENT, "no"))


class Scripted(Slot):
    """A brain without a process: each time that it is waited for, the next part of its fate comes true."""

    def __init__(self, name: str, fate: list[Phase | str | None], told: list[tuple[str, str]]) -> None:
        super().__init__(name, ())
        self.confirmed = True
        self._fate = fate
        self._told = told

    def start(self) -> None:
        self._told.append((self.name, "start"))

    async def stop(self) -> None:
        self.phase = Phase.ENDED
        self._told.append((self.name, "stop"))

    async def ended(self) -> None:
        self.phase = Phase.ENDED

    def tell(self, order: Order) -> None:
        self._told.append((self.name, type(order).__name__))
        super().tell(order)

    async def until(self, true: Callable[[Slot], bool], timeout_s: float) -> bool:
        assert timeout_s < 120, "bounded"
        fate = self._fate.pop(0)
        if isinstance(fate, Phase):
            self.phase = fate
            self._told.append((self.name, fate.value))
        elif fate is not None:
            self.refusal = fate
        return true(self)


class ScriptedHost(Host):
    """A host whose next brain is scripted."""

    next: Scripted

    def _run_slot(self, name: str) -> Slot:
        self._slots[name] = self.next
        self.next.start()
        return self.next


@settings(max_examples=60)
@given(stands, yields, serves)
def test_h1_one_writer_and_h2_an_upgrade_that_fails_leaves_what_was(
    stand: Phase | None, give: Phase | None, serve: Phase | str | None
) -> None:
    told: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = ScriptedHost(GatewayOptions(state=folder, port=1), folder)
        old = Scripted("a", [give], told)
        old.phase = Phase.SERVING
        host._slots["a"], host.next = old, Scripted("b", [stand, serve], told)

        async def story() -> None:
            await host.upgrade()
            while host._tasks:
                await asyncio.gather(*host._tasks)
            await host._envoy.stop()

        asyncio.run(story())
        status = read_status(folder / "gateway.json")
    assert most_writers(told) == 1
    done = (stand, give, serve) in {
        (Phase.STANDING, Phase.YIELDED, Phase.SERVING),
        (Phase.STANDING, Phase.ENDED, Phase.SERVING),
    }
    assert status.upgrade.outcome == ("done" if done else "failed")
    assert status.active == ("b" if done else "a")
    assert set(status.slots) == {status.active}
    if not done:
        assert status.upgrade.why
        assert ("b", "stop") in told
        assert old.phase in (Phase.ACTIVATING, Phase.ENDED), "it writes again, unless it is started anew"


def most_writers(told: list[tuple[str, str]]) -> int:
    """Return how many brains were at most allowed to write Envoy's files at once."""
    writers, most = {"a"}, 1
    for slot, what in told:
        if what == Activate.__name__:
            writers.add(slot)
        elif what in (Phase.YIELDED, Phase.ENDED, "stop"):
            writers.discard(slot)
        most = max(most, len(writers))
    return most
