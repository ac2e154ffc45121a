"""How long a request may live that no leash holds: as this machine was told, or five minutes."""

import pytest

from limen.core.errors import Invalid
from limen.services.gateway_envoy import stream_max_s


@pytest.mark.parametrize(
    ("told", "seconds"),
    [({}, 300.0), ({"LIMEN_STREAM_MAX_S": " "}, 300.0), ({"LIMEN_STREAM_MAX_S": "2.5"}, 2.5)],
)
def test_it_is_what_the_environment_says(told: dict[str, str], seconds: float) -> None:
    assert stream_max_s(told) == seconds


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "86401", "five"])
def test_what_is_no_such_time_is_refused_by_name(told: str) -> None:
    with pytest.raises(Invalid, match="LIMEN_STREAM_MAX_S"):
        stream_max_s({"LIMEN_STREAM_MAX_S": told})
