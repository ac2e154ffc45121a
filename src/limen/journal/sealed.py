"""Sealing: what a record tells of a person can be read only with that person's key.

Fields of `fields.SEALED` are sealed with AES-SIV (RFC 5297) under the key of the owner (`owners`), each for
its own name. It is deterministic on purpose: equal values of one person have equal ciphertexts, so they
are sealed once, compress, and can be looked for; who holds the file and no key learns which are equal.

    decision   subject is left out: `key` says it. session, path and ip are sealed.
    inputs     facts are sealed. Attributes of other people in them are sealed under those people's keys.
    event      an actor or target who is the person reads `@` (`@@` if it was a reference); another target,
               the reason and the data are sealed under the key of the person it is about, else the
               actor's; ip goes with the actor.

Laws:
    S1 opened. A record that was sealed and opened again is the record.
    S2 sealed. Without the key, the bytes hold nothing of the sealed values.
    S3 equal. Equal records under equal keys have equal bytes.
    S4 erased. Once the key is gone, the record says so; public fields stay.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from limen.core.errors import Invalid
from limen.core.record import ERASED, DecisionRecord, EventRecord, InputsRecord, Record
from limen.journal.frame import PAYLOAD_BYTES_MAX
from limen.journal.key import Key
from limen.journal.keys import Keys
from limen.journal.owners import decision_owner, event_owners, inputs_owner, is_person, person, username

ERASED_VALUE: Mapping[str, Any] = {ERASED: True}
"""What sealed facts or data read once the key is gone. Facts that miss another person's part have it too."""

_SEALED, _KEY = "__sealed", "__key"  # Cedar keeps names with two underscores for itself
_THE_PERSON, _THE_REFERENCE = "@", "@@"  # neither is base64

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def seal(record: Record, keys: Keys) -> Record:
    """Return a record as it is stored. One that is sealed already, or about nobody, comes back as it is.

    Raises:
        Unavailable: a new owner's key cannot be written.
    """
    if isinstance(record, DecisionRecord):
        return _seal_decision(record, keys)
    if isinstance(record, EventRecord):
        return _seal_event(record, keys)
    return _seal_inputs(record, keys) if isinstance(record, InputsRecord) else record


def unseal(record: Record, keys: Keys | None) -> Record:
    """Return a record as it was before `seal`; what no key opens reads as erased, and keeps naming the key.

    Raises:
        Invalid: a sealed value was changed (`SEAL_BROKEN`).
    """
    if isinstance(record, DecisionRecord):
        return _open_decision(record, keys) if record.key else record
    if isinstance(record, EventRecord):
        return _open_event(record, keys) if record.key or record.actor_key else record
    return _open_inputs(record, keys) if isinstance(record, InputsRecord) else record


def erased_name(key_id: str) -> str:
    """Return the username under which a person is shown whose key is gone."""
    return f"{ERASED}-{key_id[:8]}"


# --- decisions ------------------------------------------------------------------------------------


def _seal_decision(record: DecisionRecord, keys: Keys) -> DecisionRecord:
    owner = decision_owner(record)
    if owner is None or record.key:
        return record
    key, seal_text = keys.for_owner(owner), keys.seal
    return replace(
        record,
        subject=None,
        key=key.id,
        session=seal_text(key, "session", record.session) if record.session else record.session,
        path=seal_text(key, "path", record.path) if record.path else "",
        ip=seal_text(key, "ip", record.ip) if record.ip else "",
    )


def _open_decision(record: DecisionRecord, keys: Keys | None) -> DecisionRecord:
    text = _opener(record.key, keys)
    key = keys.find(record.key) if keys else None
    return replace(
        record,
        subject=person(erased_name(record.key)) if key is None else key.owner,
        key=record.key if key is None else "",
        session=text("session", record.session) if record.session else record.session,
        path=text("path", record.path),
        ip=text("ip", record.ip),
    )


# --- inputs ---------------------------------------------------------------------------------------


def _seal_inputs(record: InputsRecord, keys: Keys) -> InputsRecord:
    if record.key:
        return record
    owner = inputs_owner(record)
    facts = _map_entities(record.facts, lambda entity: _veil(entity, owner, keys))
    if owner is None or not facts:
        return replace(record, facts=facts)
    key, clear = keys.for_owner(owner), _encode(facts)
    if len(clear) > PAYLOAD_BYTES_MAX:
        raise Invalid(
            f"Facts of {len(clear)} bytes are larger than {PAYLOAD_BYTES_MAX}.",
            remedy="Let the person be in fewer groups.",
            code="RECORD_TOO_LARGE",
        )
    packed = zlib.compress(clear)  # the same names of attributes and groups again and again
    return replace(record, key=key.id, facts={_SEALED: key.seal("facts", packed)})


def _open_inputs(record: InputsRecord, keys: Keys | None) -> InputsRecord:
    facts = record.facts
    if record.key:
        key = keys.find(record.key) if keys else None
        if key is None:
            return replace(record, facts=ERASED_VALUE)
        facts = _decode_object(_unpack(key.open_bytes("facts", facts[_SEALED])))
    missing: list[str] = []
    facts = _map_entities(facts, lambda entity: _unveil(entity, keys, missing))
    return replace(record, key="", facts={**facts, **ERASED_VALUE} if missing else facts)


def _map_entities(facts: Mapping[str, Any], change: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Return facts with every entity changed that one of their closures holds."""
    found = dict(facts)
    for name in ("subject", "resource", "device"):
        part = found.get(name)
        if not isinstance(part, Mapping):
            continue
        if name == "device":
            found[name] = {**part, "closure": _map_closure(part.get("closure"), change)}
        else:
            found[name] = _map_closure(part, change)
    return found


def _map_closure(closure: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(closure, Mapping) or not isinstance(closure.get("entities"), list | tuple):
        return closure
    return {**closure, "entities": [change(entity) for entity in closure["entities"]]}


def _veil(entity: Any, owner: str | None, keys: Keys) -> Any:
    """Seal the attributes of somebody else, such as the owner of the resource."""
    if not isinstance(entity, dict) or not is_person(entity.get("ref")) or not entity.get("attrs"):
        return entity
    whose = person(entity["ref"])
    if whose is None or whose == owner:
        return entity
    key = keys.for_owner(whose)
    return {**entity, "attrs": {_SEALED: keys.seal(key, "attrs", _encode(entity["attrs"])), _KEY: key.id}}


def _unveil(entity: Any, keys: Keys | None, missing: list[str]) -> Any:
    attrs = entity.get("attrs") if isinstance(entity, dict) else None
    if not isinstance(attrs, dict) or _SEALED not in attrs:
        return entity
    key = keys.find(attrs[_KEY]) if keys else None
    if key is None:
        missing.append(attrs[_KEY])
        return {**entity, "attrs": {}}
    return {**entity, "attrs": _decode_object(key.open_bytes("attrs", attrs[_SEALED]))}


def _unpack(packed: bytes) -> bytes:
    """Unpack facts. Few bytes of a gateway in strange hands must not become gigabytes here."""
    unpacker = zlib.decompressobj()
    clear = unpacker.decompress(packed, PAYLOAD_BYTES_MAX)
    if not unpacker.eof:
        raise zlib.error("cut short, or larger than any facts")
    return clear


# --- events ---------------------------------------------------------------------------------------


def _seal_event(event: EventRecord, keys: Keys) -> EventRecord:
    about, actor = event_owners(event)
    if event.key or event.actor_key or (about is None and actor is None):
        return event
    actor_key = None if actor is None else keys.for_owner(actor)
    key = None if about is None else keys.for_owner(about)
    content, origin = key or actor_key, actor_key or key
    assert content is not None and origin is not None
    data: Mapping[str, Any] = {_SEALED: content.seal("data", _encode(event.data))} if event.data else {}
    return replace(
        event,
        key=key.id if key else "",
        actor_key=actor_key.id if actor_key else "",
        actor=event.actor if actor_key is None else _name(event.actor, actor_key),
        target=event.target if key is None else _name(event.target, key),
        reason=keys.seal(content, "reason", event.reason) if event.reason else "",
        ip=keys.seal(origin, "ip", event.ip) if event.ip else "",
        data=data,
    )


def _open_event(event: EventRecord, keys: Keys | None) -> EventRecord:
    content, origin = event.key or event.actor_key, event.actor_key or event.key
    about = _opener(content, keys)
    return replace(
        event,
        key=event.key if _gone(event.key, keys) else "",
        actor_key=event.actor_key if _gone(event.actor_key, keys) else "",
        actor=_unname(event.actor, event.actor_key, keys),
        target=_unname(event.target, event.key, keys),
        reason=about("reason", event.reason),
        ip=_opener(origin, keys)("ip", event.ip),
        data=_open_data(event.data, content, keys),
    )


def _open_data(data: Mapping[str, Any], key_id: str, keys: Keys | None) -> Mapping[str, Any]:
    if not data:
        return data
    key = keys.find(key_id) if keys else None
    if key is None:
        return ERASED_VALUE
    return _decode_object(key.open_bytes("data", data[_SEALED]))


def _name(text: str, key: Key) -> str:
    """Return what stands for an actor or a target."""
    if text == username(key.owner):
        return _THE_PERSON
    if text == key.owner:
        return _THE_REFERENCE
    return key.seal("target", text) if text else ""


def _unname(text: str, key_id: str, keys: Keys | None) -> str:
    if not key_id or not text:
        return text
    key = keys.find(key_id) if keys else None
    if text in (_THE_PERSON, _THE_REFERENCE):
        name = erased_name(key_id) if key is None else username(key.owner)
        if text == _THE_REFERENCE:
            return (person(name) or name) if key is None else key.owner
        return name
    return ERASED if key is None or keys is None else keys.opened(key, "target", text)


def _gone(key_id: str, keys: Keys | None) -> bool:
    return keys is None or keys.find(key_id) is None


def _opener(key_id: str, keys: Keys | None) -> Callable[[str, str], str]:
    """Return what opens texts of one owner; empty ones stay empty."""
    key = keys.find(key_id) if keys else None
    if key is None or keys is None:
        return lambda field, sealed: ERASED if sealed else sealed
    opened = keys.opened
    return lambda field, sealed: opened(key, field, sealed) if sealed else sealed
