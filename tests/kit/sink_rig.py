"""Certificates for collectors, a journal to send, and sinks as a process that tests kill.

As a program: `python sink_rig.py JOURNAL STATE CONFIGS` runs the sinks of a JSON file until it is killed.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from limen.core.catalogue import ExportConfig
from limen.core.errors import NotFound
from limen.core.ids import new_decision_id
from limen.core.record import DecisionRecord, EventRecord, OutcomeRecord, Record
from limen.core.secret import Secret
from limen.enforcement.development_ca import issue_ca, issue_leaf, pem_of_cert, pem_of_key
from limen.services.sinks.pump import Pace
from limen.services.sinks.sinks import Sinks

FAST = Pace(look_every_s=0.02, retry_min_s=0.02, retry_max_s=0.1)


def make_certificates(folder: Path, name: str = "localhost") -> str:
    """Write `cert.pem` and `key.pem` for a collector; return the CA that signed."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = issue_ca(ca_key, name, (name,), time.time())
    leaf = issue_leaf(ca, ca_key, key.public_key(), (name,), time.time())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cert.pem").write_bytes(pem_of_cert(leaf))
    (folder / "key.pem").write_bytes(pem_of_key(key))
    return pem_of_cert(ca).decode()


def decision(at: float, **fields: object) -> DecisionRecord:
    usual: dict[str, object] = {
        "id": new_decision_id(at), "at": at, "node": "gateway-a", "point": "gateway", "verdict": "allow",
        "code": "PERMITTED", "bundle": "b" * 64, "inputs": "i" * 32, "action": "read",
        "resource": 'App::"wiki"', "subject": 'User::"ada"', "session": "ses_1", "method": "GET",
        "host": "wiki.corp.example", "path": "/a", "ip": "203.0.113.9", "policies": ("staff",),
    }  # fmt: skip
    return msgspec.convert(usual | fields, DecisionRecord, from_attributes=True)


def outcome(of: DecisionRecord, **fields: object) -> OutcomeRecord:
    usual: dict[str, object] = {
        "id": of.id,
        "at": of.at + 0.1,
        "status": 200,
        "duration_ms": 9,
        "bytes_out": 5,
    }
    return OutcomeRecord(**(usual | fields))  # type: ignore[arg-type]


def event(at: float, number: int, **fields: object) -> EventRecord:
    usual: dict[str, object] = {
        "id": f"evt_{number}", "at": at, "node": "control", "kind": "sign_in.succeeded", "actor": "ada",
        "target": "ada", "data": {"aal": 2, "methods": ["passkey"], "session": "ses_1"},
    }  # fmt: skip
    return EventRecord(**(usual | fields))  # type: ignore[arg-type]


def some(count: int, at: float = 1_800_000_000.0) -> Iterable[Record]:
    """Return decisions with their outcomes, and events between them."""
    for number in range(count):
        made = decision(at + number)
        yield made
        if number % 3 == 0:
            yield event(at + number, number)
        yield outcome(made)


def wait_for(what: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Return once something is so. Raises AssertionError when it is not in time."""
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "it did not come in time"
        time.sleep(0.01)


def no_secret(name: str) -> Secret[str]:
    raise NotFound(f"There is no secret '{name}'.", remedy="Store it.")


def main() -> None:
    journal, state, configs = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    wanted = msgspec.json.decode(configs.read_bytes(), type=dict[str, ExportConfig])
    sinks = Sinks(journal, state, lambda: wanted, no_secret, CollectorRegistry(), pace=FAST)
    print("ready", flush=True)
    asyncio.run(sinks.run())


if __name__ == "__main__":
    main()
