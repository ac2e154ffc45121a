"""What somebody tries who wants to be a gateway, or has been one."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gateways_rig import CATALOGUE, Rig, Site, drive, until

from limen.administrator.feed_lines import LineReader
from limen.administrator.feed_wire import (
    FIRST_LINE_MAX_BYTES,
    Bye,
    Hello,
    Renew,
    Resume,
    Signed,
    SignLeaf,
    Start,
    parse_from_control,
    render_line,
)
from limen.administrator.gateway_ca import CONTROL_NAME, GATEWAY_URI, GatewayCa
from limen.administrator.gateway_csr import make_csr, pem_of_key
from limen.administrator.gateway_desk import verify_jwk
from limen.administrator.join_wire import Join, parse_to_joiner
from limen.core.errors import Invalid, LimenError, Refused
from limen.services.gateway_identity import IdentityFolder
from limen.services.join import join_gateway


async def say(rig: Rig, context: ssl.SSLContext, *lines: bytes) -> list[bytes]:
    """Say lines to control's feed; return what it answers until it ends the connection, or a snapshot."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.server.port, ssl=context, server_hostname=CONTROL_NAME
        )
        writer.write(b"".join(lines))
        read = LineReader(reader, max_bytes=1 << 20, silence_s=3.0)
        heard = []
        try:
            while not _enough(heard, len(lines)):
                heard.append(await read.line())
        except LimenError:
            pass
        writer.transport.abort()
    except (ssl.SSLError, OSError):
        return []
    return heard


def _enough(heard: list[bytes], said: int) -> bool:
    """Whether the snapshot has come, and an answer to everything that was said after hello."""
    answers = sum(b'"type":"signed"' in line for line in heard)
    return any(b'"type":"ready"' in line for line in heard) and answers == said - 1


def stranger(rig: Rig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=rig.ca.pem)
    return context


def bearer(rig: Rig, ca: GatewayCa, node: str, folder: Path) -> ssl.SSLContext:
    """Return a context with a certificate of `ca` for `node`."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = ca.issue_gateway(node, make_csr(key), rig.clock.now())
    file = folder / "bearer.pem"
    file.write_text(pem_of_key(key) + issued.chain)
    context = stranger(rig)
    context.load_cert_chain(file)
    return context


def follows(heard: list[bytes]) -> bool:
    return any(isinstance(parse_from_control(line), Start | Resume) for line in heard)


def refusal(heard: list[bytes]) -> str:
    (bye,) = [msg for msg in map(parse_from_control, heard) if isinstance(msg, Bye)]
    return bye.code


def join(rig: Rig, **changes: object) -> Join:
    from joserfc.jwk import ECKey

    jwk = ECKey.generate_key("P-256").as_dict(private=False)
    token = rig.token()
    whole = Join("gw1", token.secret, make_csr(ec.generate_private_key(ec.SECP256R1())), jwk)
    return msgspec.structs.replace(whole, **changes)


async def try_join(rig: Rig, request: Join) -> str:
    answer = parse_to_joiner((await say(rig, stranger(rig), render_line(request)))[0])
    return answer.code if isinstance(answer, Bye) else "JOINED"


def test_a_join_token_works_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        token = rig.token()
        await asyncio.to_thread(join_gateway, token, tmp_path / "gw1")
        with pytest.raises(Refused) as refused:
            await asyncio.to_thread(join_gateway, token, tmp_path / "thief")
        assert refused.value.code == "JOIN_REFUSED" and not IdentityFolder(tmp_path / "thief").joined

    drive(tmp_path, story)


def test_a_join_token_races_with_itself_and_one_wins(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        request = join(rig)
        heard = await asyncio.gather(*(try_join(rig, request) for _ in range(8)))
        assert sorted(heard) == ["JOINED"] + ["JOIN_REFUSED"] * 7

    drive(tmp_path, story)


def test_an_expired_join_token_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        request = join(rig)
        rig.clock.advance(3601)
        assert await try_join(rig, request) == "JOIN_REFUSED"

    drive(tmp_path, story)


def test_a_join_token_of_another_node_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        assert await try_join(rig, join(rig, node="gw2")) == "JOIN_REFUSED"
        assert await try_join(rig, join(rig, node="control")) == "INVALID"
        assert await try_join(rig, join(rig, node="../gw")) == "INVALID"

    drive(tmp_path, story)


def test_a_new_join_token_puts_out_the_unused_one_before_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        first = join(rig)
        rig.token()
        assert await try_join(rig, first) == "JOIN_REFUSED"

    drive(tmp_path, story)


def test_control_keeps_no_join_token_that_works(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        token = rig.token()
        assert token.secret.encode() not in (tmp_path / "limen.db").read_bytes()
        assert token.secret.encode() not in (tmp_path / "limen.db-wal").read_bytes()
        assert token.secret not in repr(token) and token.secret not in str(rig.events)

    drive(tmp_path, story)


def test_a_control_with_another_ca_never_sees_the_join_secret(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        token = msgspec.structs.replace(rig.token(), ca="0" * 64)
        with pytest.raises(Refused) as refused:
            await asyncio.to_thread(join_gateway, token, tmp_path / "gw1")
        assert refused.value.code == "JOIN_FINGERPRINT"
        assert await try_join(rig, join(rig)) == "JOINED"  # and the token was not spent by it

    drive(tmp_path, story)


def test_a_gateway_cannot_pretend_to_be_control(tmp_path: Path) -> None:
    """Its certificate is of the same CA, and is not a server's, nor of control's name."""

    async def story(rig: Rig) -> None:
        site = await rig.join("evil")
        victim = await rig.join("gw1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.root / "gateway" / "client.pem")
        fake = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
        with pytest.raises(ssl.SSLCertVerificationError):
            await victim.dial(fake.sockets[0].getsockname()[1])()
        fake.close()

    drive(tmp_path, story)


def test_a_certificate_of_another_ca_ends_in_the_handshake(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.join()
        foreign = bearer(rig, GatewayCa(tmp_path / "other"), "gw1", tmp_path)
        assert await say(rig, foreign, render_line(Hello("gw1", "", -1))) == []
        assert not rig.feed.gateways

    drive(tmp_path, story)


def test_a_certificate_of_our_ca_for_a_node_that_never_joined_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        heard = await say(rig, bearer(rig, rig.ca, "ghost", tmp_path), render_line(Hello("ghost", "", -1)))
        assert refusal(heard) == "GATEWAY_REMOVED" and not follows(heard)

    drive(tmp_path, story)


@pytest.mark.parametrize("name", ["gw2", "gateway", "control", "", "GW1"])
def test_a_gateway_cannot_claim_another_name(tmp_path: Path, name: str) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join("gw1")
        await rig.join("gw2")
        heard = await say(rig, site.folder.context(), render_line(Hello(name, "", -1)))
        assert refusal(heard) == "GATEWAY_NAME" and not follows(heard)

    drive(tmp_path, story)


def test_without_a_certificate_no_name_helps(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.join()
        heard = await say(rig, stranger(rig), render_line(Hello("gw1", "", -1)))
        assert refusal(heard) == "JOIN_INVALID" and not follows(heard)

    drive(tmp_path, story)


def test_a_removed_gateway_comes_back_with_no_certificate_of_before(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        stolen = site.folder.context()
        hello = render_line(Hello("gw1", "", -1))
        assert follows(await say(rig, stolen, hello))
        rig.remove("gw1")
        assert refusal(await say(rig, stolen, hello)) == "GATEWAY_REMOVED"
        rig.clock.advance(60)
        again = await rig.join(where="fresh")  # the name is given to another machine
        assert refusal(await say(rig, stolen, hello)) == "GATEWAY_REMOVED"
        assert follows(await say(rig, again.folder.context(), hello))

    drive(tmp_path, story)


def test_a_removed_gateway_cannot_renew_on_its_open_line(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        rig.remove("gw1")
        held = site.folder.certificate()
        with pytest.raises(Refused):
            rig.desk.renew(held, make_csr(ec.generate_private_key(ec.SECP256R1())))

    drive(tmp_path, story)


def test_the_feed_over_tls_is_not_talked_down_to_protocol_1(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        heard = await say(rig, site.folder.context(), render_line(Hello("gw1", "", -1, protocol=1)))
        assert refusal(heard) == "REFUSED" and not follows(heard)

    drive(tmp_path, story)


def test_tls_1_2_is_not_spoken(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        context = stranger(rig)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await say(rig, context, b'{"type":"fetch_ca"}\n') == []

    drive(tmp_path, story)


@pytest.mark.parametrize(
    "first",
    [
        b"x" * (FIRST_LINE_MAX_BYTES + 2) + b"\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"type":"join"}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 60_000 + b"\n",
    ],
    ids=["too long", "empty", "not text", "no join", "http", "nested"],
)
def test_a_stranger_s_rubbish_is_dropped_and_others_go_on(tmp_path: Path, first: bytes) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, _):
            await client.ask()
            assert not follows(await say(rig, stranger(rig), first))
            await client.ask()
            assert client.connections == 1

    drive(tmp_path, story)


def test_a_gateway_s_endless_line_ends_its_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limen.services.feed_line.GATEWAY_LINE_MAX_BYTES", 10_000)

    async def story(rig: Rig) -> None:
        good, bad = await rig.join("gw1"), await rig.join("gw2")
        async with good.gateway() as (client, _):
            await client.ask()
            endless = render_line(Hello("gw2", "", -1)) + b"x" * 200_000
            await say(rig, bad.folder.context(), endless)
            await until(lambda: [one.node for one in rig.feed.gateways] == ["gw1"])
            await client.ask()

    drive(tmp_path, story)


CSRS: dict[str, Callable[[], str]] = {
    "another gateway": lambda: make_csr(
        ec.generate_private_key(ec.SECP256R1()), [x509.UniformResourceIdentifier(f"{GATEWAY_URI}gw2")]
    ),
    "control": lambda: make_csr(ec.generate_private_key(ec.SECP256R1()), [x509.DNSName(CONTROL_NAME)]),
    "a stranger's host": lambda: make_csr(
        ec.generate_private_key(ec.SECP256R1()), [x509.DNSName("bank.example")]
    ),
    "another curve": lambda: make_csr(ec.generate_private_key(ec.SECP384R1())),
    "rubbish": lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("what", CSRS)
def test_a_request_for_foreign_names_is_signed_for_nobody(tmp_path: Path, what: str) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        csr = CSRS[what]()
        heard = await say(
            rig,
            site.folder.context(),
            render_line(Hello("gw1", "", -1)),
            render_line(Renew(1, csr)),
            render_line(SignLeaf(2, csr)),
        )
        signed = [msg for msg in map(parse_from_control, heard) if isinstance(msg, Signed)]
        assert [one.n for one in signed] == [1, 2]
        assert all(one.refusal and not one.chain for one in signed)
        assert await try_join(rig, join(rig, csr=csr)) in ("CSR_FOREIGN", "CSR_INVALID")

    drive(tmp_path, story)


def test_a_leaf_is_of_the_catalogue_s_hosts_whatever_is_asked(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, _):
            await client.ask()
            csr = make_csr(ec.generate_private_key(ec.SECP256R1()), [x509.DNSName("wiki.limen.test")])
            signed = await client.sign_leaf(csr)
            leaf = x509.load_pem_x509_certificate(signed.chain.encode())
            found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert set(found.get_values_for_type(x509.DNSName)) == {CATALOGUE.domain, "*.limen.test"}
            assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    drive(tmp_path, story)


def test_a_private_or_foreign_assertion_key_is_not_published() -> None:
    from joserfc.jwk import ECKey, RSAKey

    private = ECKey.generate_key("P-256").as_dict(private=True)
    other = RSAKey.import_key(rsa.generate_private_key(65537, 2048)).as_dict(private=False)
    curve = ECKey.generate_key("P-384").as_dict(private=False)
    for jwk in (private, other, curve, {}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}):
        with pytest.raises(Invalid):
            verify_jwk(jwk)
    public = ECKey.generate_key("P-256").as_dict(private=False)
    taken = verify_jwk({**public, "kid": "control's own"})
    assert taken["kid"] == ECKey.import_key(public).thumbprint()  # nobody chooses another's name


async def _get(rig: Rig, context: ssl.SSLContext, path: str = "/login") -> bytes:
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.console.port, ssl=context, server_hostname=CONTROL_NAME
        )
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: auth\r\nx-limen-peer: 10.0.0.9\r\n".encode()
            + b"connection: close\r\n\r\n"
        )
        answer = await reader.read()
        writer.transport.abort()
    except (ssl.SSLError, OSError):
        return b""
    return answer


def test_the_console_is_served_to_joined_gateways_alone(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        assert await _get(rig, stranger(rig)) == b""
        assert await _get(rig, bearer(rig, GatewayCa(tmp_path / "other"), "gw1", tmp_path)) == b""
        assert (await _get(rig, bearer(rig, rig.ca, "ghost", tmp_path))).startswith(b"HTTP/1.1 403")
        assert rig.asked == []
        assert (await _get(rig, site.folder.context())).startswith(b"HTTP/1.1 200")
        rig.remove("gw1")
        assert (await _get(rig, site.folder.context())).startswith(b"HTTP/1.1 403")
        assert rig.asked == ["/login"]

    drive(tmp_path, story)


def test_a_connection_to_the_console_that_stands_is_refused_once_its_gateway_is_removed(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.console.port, ssl=site.folder.context(), server_hostname=CONTROL_NAME
        )
        request = b"GET /login HTTP/1.1\r\nhost: auth\r\nx-limen-peer: 10.0.0.9\r\n\r\n"
        writer.write(request)
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"page")
        rig.remove("gw1")
        writer.write(request)
        assert b" 403 " in (await reader.read())
        writer.transport.abort()

    drive(tmp_path, story)


def test_many_strangers_keep_no_gateway_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing are dropped after a while, and beyond a number at once."""
    monkeypatch.setattr("limen.services.feed_tls.STRANGERS_MAX", 4)
    monkeypatch.setattr("limen.services.feed_tls.HELLO_TIMEOUT_S", 0.2)

    async def story(rig: Rig) -> None:
        site: Site = await rig.join()
        idle = []
        for _ in range(8):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", rig.server.port, ssl=stranger(rig), server_hostname=CONTROL_NAME
            )
            idle.append(writer)
        half = [socket.create_connection(("127.0.0.1", rig.server.port)) for _ in range(8)]
        async with site.gateway() as (client, _):
            await until(lambda: client.connected)
        for writer in idle:
            writer.transport.abort()
        for plain in half:
            plain.close()

    drive(tmp_path, story)
