"""`limen client add --saml-metadata`: an app's metadata goes into the bundle, and its entry beside it."""

from pathlib import Path

import saml_forger as forger
from cli_rig import run

from limen.engine.bundle import parse_bundle
from limen.services.state import read_bundle


def test_an_app_is_added_with_its_metadata(tmp_path: Path) -> None:
    bundle, metadata = tmp_path / "bundle", tmp_path / "from-the-vendor.xml"
    metadata.write_text(forger.sp_metadata())
    assert run("init", str(bundle), "--domain", "corp.example").code == 0
    said = ("--saml-metadata", str(metadata), "--allow", "group:staff", "--folder", str(bundle))
    added = run("client", "add", "crm", *said)
    assert added.code == 0, added.err
    assert "limen saml metadata" in added.out
    saml = parse_bundle(read_bundle(bundle)).catalogue.clients["crm"].saml
    assert saml is not None and saml.metadata == metadata.read_text()


def test_metadata_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    bundle, metadata = tmp_path / "bundle", tmp_path / "x.xml"
    metadata.write_text("<html/>")
    assert run("init", str(bundle), "--domain", "corp.example").code == 0
    before = read_bundle(bundle)
    refused = run("client", "add", "crm", "--saml-metadata", str(metadata), "--folder", str(bundle))
    assert refused.code != 0 and "cannot be used" in refused.err
    assert read_bundle(bundle) == before
