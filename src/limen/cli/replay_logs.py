"""`limen replay --from-log`: what a bundle would say to the traffic of an access log, offline."""

import gzip
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from limen.cli.replay import progress_bar
from limen.core.errors import Invalid, NotFound
from limen.information.logs.lines import LINE_MAX, Parse
from limen.information.logs.nginx import parse_nginx
from limen.information.logs.oauth2_proxy import parse_oauth2_proxy

if TYPE_CHECKING:
    from limen.administrator.replica import Replica
    from limen.engine.bundle import Bundle
    from limen.engine.replay_report import Report

FORMATS: Mapping[str, Parse] = {"nginx": parse_nginx, "oauth2-proxy": parse_oauth2_proxy}
GZIP_MAGIC = b"\x1f\x8b"


def replay_logs(
    kind: str,
    files: Sequence[Path],
    bundle: Path | None,
    state: Path | None,
    *,
    hosts: Sequence[str],
    aal: int,
    passkey: bool,
) -> "Report":
    """Read the files; return what the bundle would say to them.

    Raises:
        Invalid: no such format, no files, a `--host` that is neither NAME nor OLD=NEW.
    """
    from limen.administrator.authority import Supposed
    from limen.administrator.replay_logs import LogReplay
    from limen.engine.bundle import parse_bundle

    parse = FORMATS.get(kind)
    if parse is None:
        raise Invalid(f"--from-log: '{kind}' is no format.", remedy=f"Write {' or '.join(FORMATS)}.")
    if not files:
        raise Invalid("--from-log needs a file.", remedy=f"Write --from-log {kind} FILE.")
    candidate = parse_bundle(_bundle_files(bundle))
    people, names = find_people(candidate, state)
    moves = dict(host.lower().split("=", 1) for host in hosts if "=" in host)
    plain = [host.lower() for host in hosts if "=" not in host]
    if len(plain) > 1:
        raise Invalid("--host names several hosts for lines that name none.", remedy="Name one, or OLD=NEW.")
    replay = LogReplay(
        candidate,
        people,
        names=names,
        supposed=Supposed(aal=3 if passkey and aal > 2 else aal, passkey=passkey),
        hosts=moves,
        host=plain[0] if plain else "",
    )
    began = time.monotonic()
    with progress_bar("lines") as tell:
        for count, (part, line) in enumerate(read_lines(files), 1):
            found = parse(line)
            if found is None:
                replay.unreadable(line)
            else:
                replay.feed(found)
            if count % 1_000 == 0:
                tell(part, count)
    return replay.report(time.monotonic() - began)


def _bundle_files(folder: Path | None) -> dict[str, str]:
    from limen.services.state import bundle_folder, read_bundle

    found = folder or bundle_folder(Path.cwd())
    if found is None:
        raise NotFound("No limen.yaml here or above.", remedy="Name the bundle's folder with --bundle.")
    return read_bundle(found)


def find_people(candidate: "Bundle", state: Path | None) -> "tuple[Replica | None, dict[str, str]]":
    """Return the directory of a state folder under the candidate, and everybody's names in lower case.

    Without a state folder there is none; one that was named and is none is an error.
    """
    import os

    from limen.administrator.active import activate
    from limen.administrator.replica import Replica
    from limen.core.clock import SystemClock
    from limen.services.state import StateDir
    from limen.store.configured import open_store

    try:
        folder = StateDir.find(state)
    except NotFound:
        if state is not None:
            raise
        return None, {}
    active = activate(candidate)
    replica = Replica(lambda fact: active)
    store = open_store(folder.database, SystemClock(), os.environ)
    try:
        replica.apply_snapshot(store.snapshot())
    finally:
        store.close()
    people = tuple(replica.people())
    names = {person.email.casefold(): person.id for person in people if person.email}
    return replica, names | {person.id.casefold(): person.id for person in people}


def read_lines(files: Sequence[Path]) -> Iterator[tuple[float, str]]:
    """Yield each line, with the part of all bytes that was read. Files of gzip are known by their content."""
    sizes = [path.stat().st_size for path in files]
    whole, done = max(sum(sizes), 1), 0
    for path, size in zip(files, sizes, strict=True):
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            lines: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            try:
                while line := lines.readline(LINE_MAX + 2):
                    text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                    if text:
                        yield (done + file.tell()) / whole, text
            except (OSError, EOFError, zlib.error) as error:
                raise Invalid(
                    f"{path} cannot be read to its end: {error}.", remedy="Unpack it anew."
                ) from None
        done += size
