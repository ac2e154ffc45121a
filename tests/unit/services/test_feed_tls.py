"""The feed over TLS: joining, following, renewing, being removed, over real sockets."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from gateways_rig import CATALOGUE, FaultyNetwork, Rig, drive, names, until

from limen.administrator import feed_client
from limen.administrator.gateway_ca import GATEWAY_CERTIFICATE_S, RENEW_AT
from limen.core.errors import Conflict, LimenError, Unavailable
from limen.enforcement.joined_certificates import JoinedCertificates
from limen.services.gateway_identity import Renewal
from limen.services.join import join_gateway
from limen.store import gateways


def test_a_machine_joins_and_follows(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.add("ada")
        site = await rig.join()
        async with site.gateway() as (client, replica):
            await client.ask()
            rig.add("bob")
            await client.ask()
            assert names(replica) == {"ada", "bob"}
            (one,) = rig.feed.gateways
            assert (one.node, one.protocol, one.lag) == ("gw1", 2, 0)
            assert one.certificate_expires_at == pytest.approx(rig.clock.now() + GATEWAY_CERTIFICATE_S, abs=2)
            await until(lambda: rig.feed.gateways[0].address.startswith("127.0.0.1:"))
        assert [event.kind for event in rig.events] == ["gateway.token", "gateway.joined"]

    drive(tmp_path, story)


def test_what_a_gateway_keeps_is_private_and_whole(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        identity = site.folder.load()
        assert (identity.node, identity.domain, identity.controls) == ("gw1", "limen.test", (rig.address,))
        assert (identity.token_key, identity.app_secret_key) == ("dG9rZW4=", "YXBw")
        assert "dG9rZW4=" not in repr(identity)
        for name in ("identity", "client.pem"):
            assert stat.S_IMODE((site.root / "gateway" / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((rig.folder / "ca" / "gateways" / "ca.key").stat().st_mode) == 0o600
        assert not list((rig.folder / "ca" / "gateways").glob("control*"))  # its key is in memory alone
        with rig.store.read() as connection:
            (jwk,) = gateways.gateway_jwks(connection)
        assert jwk["crv"] == "P-256" and "d" not in jwk and jwk["kid"]

    drive(tmp_path, story)


def test_a_certificate_renews_itself_without_dropping_the_feed(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.clock.jump(-6 * 86_400)  # TLS itself looks at the real clock, before the story and after it
        site = await rig.join()
        async with site.gateway() as (client, replica):
            await client.ask()
            renewal = Renewal(site.folder, client, rig.clock)
            assert not renewal.due()
            rig.clock.advance(GATEWAY_CERTIFICATE_S * RENEW_AT + 1)
            assert renewal.due()
            before = site.folder.certificate()
            await renewal.renew()
            after = site.folder.certificate()
            assert after.expires_at > before.expires_at and after.serial != before.serial
            assert not renewal.due()
            rig.clock.advance(GATEWAY_CERTIFICATE_S / 2)  # the first one has ended by now
            rig.add("ada")
            await client.ask()
            assert names(replica) == {"ada"} and client.connections == 1
        async with site.gateway() as (client, _):
            await client.ask()

    drive(tmp_path, story)


def test_a_certificate_that_was_not_renewed_ends_the_line(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, _):
            await client.ask()
            rig.clock.advance(GATEWAY_CERTIFICATE_S + 1)
            with pytest.raises(Unavailable):
                await client.ask()
            await until(lambda: not rig.feed.gateways)

    drive(tmp_path, story)


def test_a_removed_gateway_is_cut_at_once_and_not_let_in_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, replica):
            await client.ask()
            rig.remove("gw1")
            await until(lambda: not client.connected)
            rig.add("eve")
            with pytest.raises(Unavailable):
                await client.ask()
            assert names(replica) == set() and not rig.feed.gateways
        with rig.store.read() as connection:
            assert gateways.gateway_jwks(connection) == []

    drive(tmp_path, story)


def test_a_gateway_removed_at_another_control_node_is_cut_with_its_next_ping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_client, "PING_EVERY_S", 0.01)

    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, _):
            await client.ask()
            with rig.ledger.entry("test", "lost") as entry:
                gateways.remove_gateway(entry.tx, "gw1")  # nobody here is told
            await until(lambda: not rig.feed.gateways)

    drive(tmp_path, story)


def test_commands_reach_each_gateway_and_say_who_failed(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        def broken(_: object) -> None:
            raise Conflict("No.", code="NO")

        sites = [await rig.join(node) for node in ("gw1", "gw2")]
        work: list[dict[str, Any]] = [{"add": lambda args: args["a"] + 1}, {"add": broken}]
        async with (
            sites[0].gateway(commands=work[0]) as (one, _),
            sites[1].gateway(commands=work[1]) as (two, _),
        ):
            await one.ask()
            await two.ask()
            heard = dict(await rig.feed.command(None, "add", {"a": 41}))
            assert (heard["gw1"].ok, heard["gw1"].data) == (True, 42)
            assert (heard["gw2"].ok, heard["gw2"].data["code"]) == (False, "NO")
            ((_, wrong),) = await rig.feed.command("gw1", "add", {"b": 1})
            assert (wrong.ok, wrong.data["code"]) == (False, "INVALID")
            ((_, none),) = await rig.feed.command("gw1", "dance", {})
            assert none.data["code"] == "COMMAND_UNKNOWN"
            assert one.connected and one.connections == 1

    drive(tmp_path, story)


def test_a_silent_gateway_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        network = FaultyNetwork(rig.server.port)
        port = await network.start()
        async with site.gateway(dial=site.dial(port), commands={"x": lambda _: 1}) as (client, _):
            await client.ask()
            network.to_gateway = False
            ((_, report),) = await rig.feed.command("gw1", "x", {}, timeout_s=0.05)
            assert (report.ok, report.data["code"]) == (False, "GATEWAY_SILENT")
        await network.close()

    drive(tmp_path, story)


def test_the_development_leaf_is_signed_by_control_for_a_key_that_stays_here(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        site = await rig.join()
        async with site.gateway() as (client, _):
            await client.ask()

            async def sign(csr: str) -> tuple[str, str]:
                signed = await client.sign_leaf(csr)
                return signed.chain, signed.ca

            shown = JoinedCertificates(site.root / "ca", sign)
            now = rig.clock.now()
            with pytest.raises(LimenError):
                shown.pair_for(CATALOGUE, now)
            assert await shown.prepare(CATALOGUE, now)
            pair = shown.pair_for(CATALOGUE, now)
            assert not pair.uncovered(("auth.limen.test", "wiki.limen.test"))
            assert not await shown.prepare(CATALOGUE, now)  # it is kept, and serves while control is away
            assert not (site.root / "ca" / "ca.key").exists()
            assert (site.root / "ca" / "ca.pem").read_bytes() == (rig.folder / "ca" / "ca.pem").read_bytes()

    drive(tmp_path, story)


def test_joining_again_replaces_the_machine_of_that_name(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        old = await rig.join()
        async with old.gateway() as (client, _):
            await client.ask()
            rig.clock.advance(60)
            new = await rig.join(where="elsewhere")
            await until(lambda: not client.connected)
            with pytest.raises(Unavailable):
                await client.ask()
        async with new.gateway() as (client, _):
            await client.ask()

    drive(tmp_path, story)


def test_control_s_own_folder_cannot_join(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(Conflict):
            await asyncio.to_thread(join_gateway, rig.token(), rig.folder)

    drive(tmp_path, story)


def test_joining_says_when_no_control_answers(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        token = rig.token()
        await rig.server.stop()
        with pytest.raises(Unavailable):
            await asyncio.to_thread(join_gateway, token, tmp_path / "gw1")
        rig.server = type(rig.server)(
            rig.feed,
            rig.desk,
            rig.ca,
            rig.tls,
            rig.clock,
            host="127.0.0.1",
            port=0,
            sign_leaf=lambda _: ("", ""),
        )
        await rig.server.start()

    drive(tmp_path, story)
