"""`limen connect` with the programs that people use: OpenSSH, psql, redis-cli, through the real Envoy."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
from connect_rig import PEOPLE_GROUP, Services, need, running_services
from journey_rig import wait_until

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    need("ssh", "openssh-client")
    need("psql", "postgresql")
    need("redis-cli", "redis")
    with running_services() as running:
        yield running


def ssh(services: Services, *command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run OpenSSH with `limen connect --stdio` as its ProxyCommand, as the guide says."""
    laptop, folder = services.laptop, services.ssh_folder
    proxy = " ".join(laptop.command("connect", "t-ssh", "--stdio"))
    settings = [
        f"ProxyCommand={proxy}", f"IdentityFile={folder}/client", f"UserKnownHostsFile={folder}/known",
        "StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR",
    ]  # fmt: skip
    arguments = [part for one in settings for part in ("-o", one)]
    return subprocess.run(
        ["ssh", "-F", os.devnull, *arguments, "t-ssh", *command],
        capture_output=True, check=False, timeout=90, env=laptop.environment, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_openssh_runs_a_command_and_brings_its_exit_code(services: Services) -> None:
    done = ssh(services, "echo there; exit 7")
    assert (done.stdout, done.returncode) == (b"there\n", 7), done.stderr


def test_openssh_carries_bytes_and_half_closes_both_ways(services: Services) -> None:
    data = bytes(range(256)) * 20_000
    done = ssh(services, "cat", input=data)
    assert done.returncode == 0 and done.stdout == data, done.stderr


def test_psql_works(services: Services) -> None:
    with services.laptop.listening("t-postgres") as port:
        url = f"postgresql://ada@127.0.0.1:{port.port}/postgres"
        query = "select count(*), sum(length(repeat('x', 1000))) from generate_series(1, 20000)"
        done = subprocess.run(
            ["psql", url, "-At", "-c", query], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.stdout.strip() == "20000|20000000", done.stderr + "".join(port.said)


def test_redis_cli_works_over_many_connections(services: Services) -> None:
    with services.laptop.listening("t-redis") as port:
        run = ["redis-cli", "-p", str(port.port)]
        assert subprocess.run([*run, "SET", "a", "b"], capture_output=True, timeout=30).stdout == b"OK\n"
        many = [subprocess.Popen([*run, "INCR", "n"], stdout=subprocess.PIPE) for _ in range(12)]
        seen = sorted(int(one.communicate(timeout=60)[0]) for one in many)
    assert seen == list(range(1, 13)), port.said


def test_status_says_what_is_open(services: Services) -> None:
    done = services.laptop.limen("status", "--json")
    found = json.loads(done.stdout)
    assert found["person"] == "tamsin"
    may = {one["name"]: one["may"] for one in found["services"]}
    assert may["t-ssh"] is True and may["t-closed"] is False


def test_what_is_not_open_is_told_with_its_reason(services: Services) -> None:
    done = services.laptop.limen("connect", "t-closed", "--stdio", stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stdout == ""
    assert "t-closed is not open" in done.stderr and "Decision " in done.stderr, done.stderr
    done = services.laptop.limen("connect", "t-unheard-of", "--stdio", stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "not" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_cut_says_why_and_has_its_own_exit_code(services: Services) -> None:
    process = services.laptop.start(
        "connect", "t-redis", "--stdio", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("PING\r\n")
        process.stdin.flush()
        assert process.stdout.readline() == "+PONG\n"
        change = (PEOPLE_GROUP, "tamsin", "--reason", "a journey")
        assert services.demo.limen("group", "remove-member", *change).returncode == 0
        try:
            assert process.wait(30) == 3, process.stderr.read()
            said = process.stderr.read()
        finally:
            process.stdin.close()
            assert services.demo.limen("group", "add-member", *change).returncode == 0
    assert "The gateway closed the connection to t-redis: " in said and "Decision " in said, said


def test_a_sign_in_that_ended_stops_a_client_that_listens(services: Services) -> None:
    laptop = services.laptop
    with laptop.listening("t-redis") as port:
        services.demo.admin.patch("/v1/people/tamsin", {"status": "suspended"})
        services.demo.admin.patch("/v1/people/tamsin", {"status": "active"})
        with (
            socket.create_connection(("127.0.0.1", port.port)) as local,
            contextlib.suppress(ConnectionError),
        ):
            assert local.recv(1) == b""
        assert f"Run: limen login {services.demo.auth_url}" in port.wait_for("Run: ")
        assert port.process.wait(20) == 1
    laptop.log_in()
    assert laptop.limen("status").returncode == 0


def test_logging_out_ends_the_token(services: Services) -> None:
    laptop = services.laptop
    token = next((laptop.folder / "config" / "profiles").glob("*.token")).read_text()
    assert laptop.limen("logout").returncode == 0
    headers = {"Authorization": f"Bearer {token}"}
    with services.demo.client() as browser:
        answer = browser.http.get(f"{services.demo.auth_url}/connect/services", headers=headers)
    assert answer.status_code == 401
    laptop.log_in()


def test_the_token_is_in_no_argument_list_and_no_output(services: Services) -> None:
    folder = services.laptop.folder / "config" / "profiles"
    token = next(folder.glob("*.token")).read_text()
    with services.laptop.listening("t-redis") as port:
        with socket.create_connection(("127.0.0.1", port.port)) as local:
            local.sendall(b"PING\r\n")
            wait_until("an answer", lambda: local.recv(7) == b"+PONG\r\n")
        arguments = open(f"/proc/{port.process.pid}/cmdline").read()  # noqa: PTH123, SIM115
        environment = open(f"/proc/{port.process.pid}/environ").read()  # noqa: PTH123, SIM115
    assert token not in arguments + environment + "".join(port.said)
    assert token not in services.laptop.limen("status").stdout
