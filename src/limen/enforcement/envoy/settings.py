"""Where one Envoy listens, whom it asks, and within which limits it stays."""

from pathlib import Path

import msgspec

STREAM_MAX_S = 300.0  # whole life of a request and its response that no leash holds
CHECK_TIMEOUT_S = 5.0  # leaves the check time to ask control once for a session it has not seen (law F4)
LEASH_TIMEOUT_S = 5.0  # for each answer of the leash; Envoy's default, 0.2 s, does not outlive a burst
LIVE_BYTES_S = 5.0  # between two lines of the access log on a stream that is open
DRAIN_S = 5  # how long open connections live after the listener changed; Envoy's own default is 600
REQUEST_HEADERS_TIMEOUT_S = 10.0  # slow senders of headers, standards/envoy.md
REQUEST_SILENCE_S = 300.0  # no byte either way on a stream; apps set their own, edge guide
CONNECTION_IDLE_S = 3600.0  # edge guide
REQUEST_HEADERS_KIB = 64  # of a request, with what is added on its way: the cookie counts twice
REQUEST_HEADERS_COUNT = 120  # the same way; about 100 from outside
HTTP2_STREAMS_MAX = 100  # edge guide
HTTP2_STREAM_WINDOW_BYTES = 262_144  # a tunnel's upload; all streams together have the connection's
HTTP2_CONNECTION_WINDOW_BYTES = 1_048_576  # edge guide
CONNECTION_BUFFER_BYTES = 32_768  # edge guide
TLS_HANDSHAKE_TIMEOUT_S = 10.0
DELAYED_CLOSE_S = 0.2  # 0 loses denial pages on large uploads (measured), 1 s is Envoy's default
CONNECTIONS_MAX = 10_000  # downstream, all listeners together
HEAP_MAX_BYTES = 1 << 30  # where the overload manager begins to refuse

CONTROL_CLUSTER = "control"
CHECK_CLUSTER = "check"
LEASH_CLUSTER = "leash"
SLOTS = ("a", "b")
"""Names of the processes of one gateway that may decide: while it is upgraded there are two."""

ADMIN_SOCKET = "envoy.sock"


class ControlUpstream(msgspec.Struct, frozen=True):
    """Control on other machines, reached over TLS 1.3 with the gateway's own certificate.

    The certificate with its key, and the roots, stand in watched files (`sds_control`,
    `sds_control_roots`), so renewing them changes no cluster and cuts nothing.

    Attributes:
        addresses: host and port of each control node; they are used in turn.
        name: what the certificate of every control node must name.
    """

    addresses: tuple[tuple[str, int], ...]
    name: str


class EnvoySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy of one gateway.

    Attributes:
        folder: configuration files are kept here; private to the user who runs Limen.
        run: folder of the Unix sockets: `check-<slot>.sock`, `leash-<slot>.sock`, `control.sock` and
            Envoy's own `envoy.sock`.
        binary: the Envoy program.
        concurrency: worker threads; None is one per core.
        slot: which of `SLOTS` decides. No files but `eds_check` and `eds_leash` depend on it.
        control: where control is; None means on this machine, behind a Unix socket.
    """

    folder: Path
    run: Path
    binary: Path
    host: str = "127.0.0.1"
    port: int = 8443
    concurrency: int | None = None
    slot: str = "a"
    control: ControlUpstream | None = None
    check_timeout_s: float = CHECK_TIMEOUT_S
    leash_timeout_s: float = LEASH_TIMEOUT_S
    live_bytes_s: float = LIVE_BYTES_S
    stream_max_s: float = STREAM_MAX_S
    drain_s: int = DRAIN_S
    connections_max: int = CONNECTIONS_MAX
    heap_max_bytes: int = HEAP_MAX_BYTES
    system_roots: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    log_level: str = "warning"

    @property
    def check_socket(self) -> Path:
        """Where the check answers."""
        return self.run / f"check-{self.slot}.sock"

    @property
    def leash_socket(self) -> Path:
        """Where the leash answers."""
        return self.run / f"leash-{self.slot}.sock"

    @property
    def control_socket(self) -> Path:
        """Where sign-in and the exchange of sessions answer."""
        return self.run / "control.sock"

    @property
    def admin_socket(self) -> Path:
        """Where Envoy's own administration answers; never on a port."""
        return self.run / ADMIN_SOCKET

    def file(self, name: str) -> Path:
        """Return the configuration file `name` (bootstrap, lds, rds, cds, sds, eds_check …)."""
        return self.folder / f"{name}.json"
