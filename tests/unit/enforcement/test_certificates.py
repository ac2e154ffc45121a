"""The development CA, its leaf, and the organisation's own files."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from limen.core.catalogue import AppConfig, Catalogue, CertificateConfig
from limen.core.errors import Invalid, NotFound
from limen.enforcement.certificates import (
    RENEW_DAYS,
    CertificateFolder,
    Pair,
    load_pair,
    trust_instructions,
)
from limen.enforcement.development_ca import LEAF_DAYS
from limen.enforcement.trust import trust_steps

NOW = 1_800_000_000.0
DAY = 86_400


def catalogue(*hosts: str, domain: str = "limen.localhost") -> Catalogue:
    apps = {f"a{n}": AppConfig(f"a{n}", host, ("http://127.0.0.1:1",)) for n, host in enumerate(hosts)}
    return Catalogue(domain=domain, apps=apps)


def handshake(folder: Path, host: str) -> None:
    """Verify the leaf for `host` with nothing but the CA file, as a browser would."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_the_leaf_names_domain_wildcard_and_hosts_elsewhere(tmp_path: Path) -> None:
    made = catalogue("wiki.limen.localhost", "deep.wiki.limen.localhost", "pay.other.example")
    pair = CertificateFolder(tmp_path).pair_for(made, NOW)
    assert set(pair.hosts) == {
        "limen.localhost", "*.limen.localhost", "deep.wiki.limen.localhost", "pay.other.example",
    }  # fmt: skip
    hosts = ("wiki.limen.localhost", "auth.limen.localhost", "deep.wiki.limen.localhost", "pay.other.example")
    assert pair.uncovered(hosts) == ()
    assert pair.uncovered(("a.b.limen.localhost", "evil.example")) == ("a.b.limen.localhost", "evil.example")


def test_a_browser_that_trusts_the_ca_accepts_the_leaf(tmp_path: Path) -> None:
    import time

    CertificateFolder(tmp_path).pair_for(catalogue("pay.other.example"), time.time())
    handshake(tmp_path, "wiki.limen.localhost")
    handshake(tmp_path, "pay.other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "evil.example")


def test_the_ca_can_vouch_for_this_system_only(tmp_path: Path) -> None:
    CertificateFolder(tmp_path).pair_for(catalogue("pay.other.example"), NOW)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    limits = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert [tree.value for tree in limits.value.permitted_subtrees or ()] == [
        "limen.localhost",
        "pay.other.example",
    ]
    assert len(limits.value.excluded_subtrees or ()) == 2, "no IP address at all"
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_ca_and_leaf_are_kept_until_something_changes(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    first = folder.pair_for(catalogue("wiki.limen.localhost"), NOW)
    assert folder.pair_for(catalogue("board.limen.localhost"), NOW + DAY) == first
    assert CertificateFolder(tmp_path).pair_for(catalogue(), NOW + DAY) == first


def test_the_leaf_is_renewed_in_time_under_the_same_ca(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    first = folder.pair_for(catalogue(), NOW)
    ca = folder.ca_file.read_bytes()
    assert folder.pair_for(catalogue(), NOW + (LEAF_DAYS - RENEW_DAYS - 1) * DAY) == first
    renewed = folder.pair_for(catalogue(), NOW + (LEAF_DAYS - RENEW_DAYS + 1) * DAY)
    assert renewed.expires_at > first.expires_at
    assert folder.ca_file.read_bytes() == ca


def test_a_host_elsewhere_needs_a_ca_that_may_vouch_for_it(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    folder.pair_for(catalogue(), NOW)
    first = folder.ca_file.read_bytes()
    folder.pair_for(catalogue("pay.other.example"), NOW)
    second = folder.ca_file.read_bytes()
    assert second != first
    folder.pair_for(catalogue(), NOW)
    assert folder.ca_file.read_bytes() == second, "taking the host away costs nobody a new trust"


@pytest.mark.parametrize("broken", ["ca.pem", "ca.key", "leaf.pem", "leaf.key"])
def test_a_missing_file_is_made_again(tmp_path: Path, broken: str) -> None:
    folder = CertificateFolder(tmp_path)
    folder.pair_for(catalogue(), NOW)
    (tmp_path / broken).unlink()
    assert folder.pair_for(catalogue(), NOW).uncovered(("wiki.limen.localhost",)) == ()


def test_a_ca_whose_key_is_another_ones_is_made_again(tmp_path: Path) -> None:
    one, other = CertificateFolder(tmp_path / "a"), CertificateFolder(tmp_path / "b")
    one.pair_for(catalogue(), NOW)
    other.pair_for(catalogue(), NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    (tmp_path / "a" / "leaf.pem").unlink()
    one.pair_for(catalogue(), NOW)
    ca = x509.load_pem_x509_certificate(one.ca_file.read_bytes())
    leaf = x509.load_pem_x509_certificate((tmp_path / "a" / "leaf.pem").read_bytes())
    leaf.verify_directly_issued_by(ca)


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    CertificateFolder(tmp_path).pair_for(catalogue(), NOW)
    for name in ("ca.key", "leaf.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def own(folder: Path) -> Catalogue:
    files = CertificateConfig(str(folder / "leaf.pem"), str(folder / "leaf.key"))
    return Catalogue(domain="limen.localhost", certificate=files)


def test_the_organisations_own_pair_is_used_and_no_ca_is_made(tmp_path: Path) -> None:
    CertificateFolder(tmp_path / "own").pair_for(catalogue(), NOW)
    pair = CertificateFolder(tmp_path / "dev").pair_for(own(tmp_path / "own"), NOW)
    assert pair.cert_pem == (tmp_path / "own" / "leaf.pem").read_text()
    assert not (tmp_path / "dev").exists()


def test_own_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path / "dev")
    with pytest.raises(NotFound, match=r"certificate\.cert"):
        folder.pair_for(own(tmp_path), NOW)
    CertificateFolder(tmp_path).pair_for(catalogue(), NOW)
    with pytest.raises(Invalid, match="ended on") as expired:
        folder.pair_for(own(tmp_path), NOW + 100 * DAY)
    assert expired.value.code == "CERTIFICATE_EXPIRED"
    (tmp_path / "leaf.key").write_bytes((tmp_path / "ca.key").read_bytes())
    with pytest.raises(Invalid, match="does not belong"):
        folder.pair_for(own(tmp_path), NOW)
    (tmp_path / "leaf.key").write_text("rubbish")
    with pytest.raises(Invalid, match="not a PEM"):
        folder.pair_for(own(tmp_path), NOW)


def test_a_pair_does_not_show_its_key(tmp_path: Path) -> None:
    pair = CertificateFolder(tmp_path).pair_for(catalogue(), NOW)
    assert isinstance(pair, Pair)
    assert "PRIVATE" not in repr(pair)
    assert load_pair(tmp_path / "leaf.pem", tmp_path / "leaf.key", NOW) == pair


def test_trust_instructions_name_the_ca_on_every_platform(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        trust_instructions(tmp_path)
    CertificateFolder(tmp_path).pair_for(catalogue("a.a-elsewhere.example"), NOW)
    text = trust_instructions(tmp_path)
    assert str(tmp_path / "ca.pem") in text
    assert "vouch for limen.localhost" in text
    steps = trust_steps(tmp_path / "ca.pem", "limen.localhost")
    assert {step.id for step in steps} == {
        "chromium",
        "firefox",
        "debian",
        "rhel",
        "macos",
        "windows",
        "once",
    }
    for step in steps:
        assert step.title in text
        assert "ca.pem" in " ".join((*step.commands, step.note))


def test_paths_with_spaces_are_quoted_in_commands() -> None:
    steps = trust_steps(Path("/home/a b/ca.pem"), "limen.localhost")
    debian = next(step for step in steps if step.id == "debian")
    assert "'/home/a b/ca.pem'" in debian.commands[0]
