"""Field classes: every field has one, and what has none stays here. Owners: every kind of event is known."""

from typing import get_args

import msgspec
import pytest

from limen.core.record import EventRecord, InputsRecord, Record
from limen.journal.fields import FIELD_CLASSES, FieldClass, exportable, field_class
from limen.journal.frame import Kind
from limen.journal.records import KIND_OF

RECORDS = get_args(Record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_every_record_has_a_class(record: type[msgspec.Struct]) -> None:
    named = FIELD_CLASSES[str(record.__struct_config__.tag)]
    assert set(named) == set(record.__struct_fields__)


def test_a_field_without_a_class_is_secret() -> None:
    assert field_class("decision", "added_tomorrow") is FieldClass.SECRET
    assert field_class("added_tomorrow", "id") is FieldClass.SECRET


@pytest.mark.parametrize("up_to", FieldClass)
def test_nothing_secret_is_exported_whatever_is_asked(up_to: FieldClass) -> None:
    event = EventRecord("e", 1.0, "control", "sign_in.failed", "ada", data={"tried": "hunter2"})
    assert "data" not in exportable(event, up_to)
    assert ("actor" in exportable(event, up_to)) == (up_to >= FieldClass.SENSITIVE)
    assert exportable(InputsRecord("i", {"email": "ada@x"}), FieldClass.PUBLIC) == {"type": "inputs"}


def test_every_record_has_a_kind_of_frame() -> None:
    assert set(KIND_OF) == set(RECORDS)
    assert all(kind < Kind.HEADER for kind in KIND_OF.values())
