"""SAML over the admin API: its keys turn by who may administer; a bundle with it needs xmlsec1."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import saml_forger as forger
from people_rig import AUTH, PeopleRig

from limen.core.errors import Unavailable
from limen.core.saml_metadata import parse_idp
from limen.engine.starter import starter_files


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeopleRig]:
    made = PeopleRig(tmp_path_factory.mktemp("saml"))
    yield made
    made.control.close()


def test_an_auditor_reads_the_metadata_and_an_administrator_turns_the_key(rig: PeopleRig) -> None:
    audrey, root = rig.caller("audrey"), rig.caller("root")
    found = audrey.get("/v1/saml/metadata").json()
    assert found["url"] == f"{AUTH}/saml-idp/metadata"
    assert len(parse_idp(found["metadata"]).certificates) == 1
    assert audrey.post("/v1/saml/keys", {"reason": "mine"}).status_code == 403
    assert rig.caller("eve").get("/v1/saml/metadata").status_code == 403
    assert audrey.get("/v1/saml/metadata?provider=corp").status_code == 404
    assert root.post("/v1/saml/keys", {"reason": "yearly", "after_s": 86_400}).status_code == 200
    metadata = audrey.get("/v1/saml/metadata").json()["metadata"]
    assert len(parse_idp(metadata).certificates) == 2
    keys = audrey.get("/v1/saml/keys").json()
    assert [key["active_at"] for key in keys] == [rig.clock.now(), rig.clock.now() + 86_400]
    assert "PRIVATE" not in str(keys)


def test_a_bundle_that_speaks_saml_is_not_applied_where_xmlsec1_is_missing(
    rig: PeopleRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {**starter_files("corp.example"), "crm.xml": forger.sp_metadata()}
    files["limen.yaml"] += "\nclients:\n  crm: {saml: {metadata: crm.xml}}\n"
    if shutil.which("xmlsec1"):
        rig.control._policies.apply(files, actor="test", reason="there")
    monkeypatch.setenv("PATH", str(tmp_path))
    files["limen.yaml"] += "\n"
    with pytest.raises(Unavailable) as missing:
        rig.control._policies.apply(files, actor="test", reason="not there")
    assert missing.value.code == "XMLSEC_MISSING"
    assert "Install the package xmlsec1" in missing.value.remedy
