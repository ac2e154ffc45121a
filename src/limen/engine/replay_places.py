"""What a recorded request is for under another bundle: its catalogue says which resource and action it is."""

from collections.abc import Mapping

from limen.core.catalogue import AppConfig, Catalogue, ServiceConfig
from limen.core.decision import Code, Verdict
from limen.core.entities import Entity
from limen.core.ids import EntityRef
from limen.core.paths import Ambiguous, PathTable, path_readings
from limen.core.resources import ADMIN_STALENESS_MAX_S, RouteMatch
from limen.core.rollout import ENFORCED, Mode, Rollout, Stage, softened
from limen.engine.replay_report import Side

PATHS_MAX = 131_072  # requests whose place is remembered, at about 0.3 kB each


class Standing:
    """One resource and action, with what else the bundle says of it. Compared by identity.

    Attributes:
        staleness_max_s: None where the catalogue does not say: then the recorded bound counts.
        owner: who owns the resource, by username.
        sides: sides of differences that were made for it, kept.
    """

    __slots__ = ("action", "owner", "public", "resource", "rollout", "sides", "staleness_max_s")

    def __init__(
        self,
        match: RouteMatch,
        staleness_max_s: float | None = None,
        rollout: Rollout = ENFORCED,
        owner: str = "",
    ) -> None:
        self.resource, self.action, self.public = match.resource, match.action, match.public
        self.staleness_max_s = staleness_max_s
        self.rollout = rollout
        self.owner = owner
        self.sides: dict[tuple[Code, tuple[str, ...], Verdict, Mode], Side] = {}

    def stage(self, groups: frozenset[EntityRef] | None) -> Stage:
        """Return the rollout stage of a subject in these groups; None: nobody whom the directory knows."""
        return self.rollout.stage if groups is None else self.rollout.stage_of(groups)

    def enforced(self, verdict: Verdict, code: Code, groups: frozenset[EntityRef] | None) -> Verdict:
        """Return what happens to somebody in these groups where the policies say `verdict`."""
        if verdict is Verdict.DENY and groups is not None and softened(self.rollout, code, groups):
            return Verdict.ALLOW
        return verdict

    def enforced_on_nobody(self, *, let_in: bool) -> Verdict:
        """Return what happens to somebody without a session (law M1).

        Whether a page was opened or a program asked is not recorded; `let_in` says that it came in by its
        mode before, so it was a program, unless pages come in too.
        """
        mayhap = self.resource.type != "Service" and (let_in or not self.rollout.sign_in)
        soft = mayhap and softened(self.rollout, Code.NO_SESSION, None) is not None
        return Verdict.ALLOW if soft else Verdict.DENY


class ReplayPlaces:
    """The hosts of one catalogue, as recorded requests name them."""

    def __init__(self, catalogue: Catalogue, entities: Mapping[EntityRef, Entity]) -> None:
        self._hosts: dict[str, _AppPlace | _ServicePlace] = {
            service.host: _ServicePlace(service) for service in catalogue.services.values()
        }
        self._hosts |= {app.host: _AppPlace(app) for app in catalogue.apps.values()}
        self._entities = entities
        self._owners = {client.ref: client.owner or "" for client in catalogue.clients.values()}
        self._named: dict[tuple[EntityRef, str], Standing] = {}
        self._found: dict[tuple[str, str, str], Standing | Code] = {}

    def find(self, method: str, host: str, path: str) -> Standing | Code:
        """Return what a request is for, or why it is for nothing."""
        key = (host, method, path)
        found = self._found.get(key)
        if found is None:
            place = self._hosts.get(host)
            found = Code.NO_RESOURCE if place is None else place.find(method, path)
            if len(self._found) >= PATHS_MAX:
                self._found.clear()
            self._found[key] = found
        return found

    def named(self, resource: EntityRef, action: str) -> Standing | Code:
        """Return the standing of a resource that is named and not addressed.

        Those are Limen's own administration, and clients, where tokens are issued.
        """
        if resource not in self._entities:
            return Code.NO_RESOURCE
        key = (resource, action)
        return self._named.setdefault(
            key, Standing(RouteMatch(resource, action), owner=self._owners.get(resource, ""))
        )


class _AppPlace:
    def __init__(self, app: AppConfig) -> None:
        self._app = app
        self._table = PathTable(app)
        self._standings: dict[RouteMatch, Standing] = {}

    def find(self, method: str, path: str) -> Standing | Code:
        if method == "CONNECT":
            return Code.STREAM_REFUSED
        if "%2F" in path.upper() and not self._app.allow_encoded_slash:
            return Code.BAD_REQUEST
        try:
            match = self._table.match(method, path_readings(path))
        except (Ambiguous, UnicodeDecodeError):
            return Code.BAD_REQUEST
        found = self._standings.get(match)
        if found is None:
            app = self._app
            stale = app.staleness_max_s
            stale = min(stale, ADMIN_STALENESS_MAX_S) if match.action == "admin" else stale
            rollout = app.rollout_of(match.resource)
            found = self._standings[match] = Standing(match, stale, rollout, app.owner or "")
        return found


class _ServicePlace:
    def __init__(self, service: ServiceConfig) -> None:
        match = RouteMatch(service.ref, "connect")
        self._standing = Standing(match, service.staleness_max_s, service.rollout, service.owner or "")

    def find(self, method: str, path: str) -> Standing | Code:
        return self._standing if method == "CONNECT" and not path else Code.BAD_REQUEST
