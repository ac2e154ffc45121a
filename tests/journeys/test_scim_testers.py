"""SCIM's two testers, neither of them ours, against Limen's server: nothing fails, nothing is left out."""

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from scim2_tester import Status, check_server
from scim_kit import HttpxScimClient, ScimWorld, Served
from scim_sanity.probe.runner import run_probe_api

NOT_OURS = {"Agent", "AgenticApplication"}
"""Resource types of a draft that `scim-sanity` skips where a server does not say that it has them."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ScimWorld:
    return ScimWorld(tmp_path_factory.mktemp("scim"))


@pytest.fixture(scope="module")
def url(world: ScimWorld) -> Iterator[str]:
    with Served(world) as url:
        yield url


def test_scim2_tester_finds_nothing_wrong_and_skips_nothing(world: ScimWorld, url: str) -> None:
    headers = {"authorization": f"Bearer {world.token()}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        results = check_server(HttpxScimClient(http))
    wrong = [f"{one.title}: {one.reason}" for one in results if one.status is not Status.SUCCESS]
    assert not wrong, "\n".join(wrong)
    assert len(results) >= 130
    assert {tag for one in results for tag in one.tags} >= {
        "discovery", "crud:create", "crud:read", "crud:update", "crud:delete",
        "patch:add", "patch:remove", "patch:replace", "misc",
    }  # fmt: skip


def test_scim_sanity_passes_with_no_skip_that_applies(world: ScimWorld, url: str) -> None:
    found = run_probe_api(url, token=world.token("entra"), strict=True)
    counted = Counter(one["status"] for one in found["results"])
    assert found["exit_code"] == 0, found["results"]
    assert set(counted) <= {"pass", "skip"}, [one for one in found["results"] if one["status"] != "pass"]
    skipped = [one for one in found["results"] if one["status"] == "skip"]
    assert all(one["name"].split()[0].removesuffix("s") in NOT_OURS for one in skipped), skipped
    assert counted["pass"] >= 24
