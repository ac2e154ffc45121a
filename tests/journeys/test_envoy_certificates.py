"""The organisation's own certificate: shown, replaced while running, refused when it is broken."""

import ssl
from pathlib import Path

import pytest
from envoy_rig import DOMAIN, Rig, app_config, running

from limen.core.catalogue import Catalogue, CertificateConfig
from limen.core.clock import SystemClock
from limen.core.errors import Invalid
from limen.enforcement.certificates import CertificateFolder

pytestmark = pytest.mark.envoy


def issue(folder: Path) -> None:
    """Another certificate of another CA, in `folder`."""
    for name in ("ca.pem", "ca.key", "leaf.pem", "leaf.key"):
        (folder / name).unlink(missing_ok=True)
    CertificateFolder(folder).pair_for(Catalogue(domain=DOMAIN), SystemClock().now())


def trusted(rig: Rig, folder: Path) -> bool:
    rig.certificates = CertificateFolder(folder)
    try:
        return rig.get("/").status == 200
    except ssl.SSLCertVerificationError:
        return False


def test_own_certificate_is_reloaded_when_it_changes_and_kept_when_it_breaks(tmp_path: Path) -> None:
    issue(tmp_path)
    files = CertificateConfig(str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"))

    def make(rig: Rig) -> Catalogue:
        apps = {
            "wiki": app_config("wiki", rig.app_port),
            "pay": app_config("pay", rig.app_port, host="pay.other.example"),
        }
        return Catalogue(domain=DOMAIN, apps=apps, certificate=files)

    with running(make) as rig:
        assert trusted(rig, tmp_path)
        assert rig.envoy.status().uncovered == ("pay.other.example",)
        assert not rig.run(rig.envoy.refresh_certificates())

        issue(tmp_path)
        assert not trusted(rig, tmp_path)
        assert rig.run(rig.envoy.refresh_certificates())
        assert trusted(rig, tmp_path)

        good = (tmp_path / "leaf.key").read_bytes()
        (tmp_path / "leaf.key").write_text("rubbish")
        with pytest.raises(Invalid):
            rig.run(rig.envoy.refresh_certificates())
        assert "leaf.key" in (rig.envoy.status().refusal or "")
        assert trusted(rig, tmp_path)

        (tmp_path / "leaf.key").write_bytes(good)
        assert not rig.run(rig.envoy.refresh_certificates())
        assert rig.envoy.status().refusal is None
