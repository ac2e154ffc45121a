"""What only the whole of `limen.yaml` can tell: hosts, names, segments and routes that clash or miss."""

from collections.abc import Mapping
from typing import Any

from limen.core.catalogue import BUILT_IN_ATTRIBUTES, AppConfig, Catalogue, ServiceConfig
from limen.core.client_config import ClientConfig
from limen.core.resources import plain_resources, specificity
from limen.engine.forms import nearest
from limen.engine.limen_client_keys import check_clients
from limen.engine.limen_oidc_keys import check_sources
from limen.engine.limen_saml_keys import check_saml
from limen.engine.read_forms import Log, Path
from limen.engine.routes import overlap


def check_whole(catalogue: Catalogue, log: Log) -> None:
    """Note in the log what is wrong between the parts of a catalogue."""
    _check_hosts(catalogue, log)
    _check_names(catalogue, log)
    _check_segments(catalogue, log)
    check_clients(catalogue, log)
    check_sources(catalogue, log)
    check_saml(catalogue, log)
    for app in catalogue.apps.values():
        _check_routes(app, log)
    for name in catalogue.attributes:
        if name in BUILT_IN_ATTRIBUTES:
            log.wrong(
                ("attributes", name), f"`{name}` is an attribute of people already.", "Choose another name."
            )
    if catalogue.session_idle_s > catalogue.session_max_s:
        log.wrong(
            ("sessions", "idle_s"), "`idle_s` is longer than `max_s`.", "Make it shorter than the session."
        )


def _check_hosts(catalogue: Catalogue, log: Log) -> None:
    owners: dict[str, str] = {}
    for app in catalogue.apps.values():
        path: Path = ("apps", app.name, "host")
        if app.host == catalogue.auth_host or app.host.endswith(f".{catalogue.auth_host}"):
            log.wrong(path, f"`{app.host}` belongs to sign-in.", "Give the app another host.")
        elif app.host in owners:
            log.wrong(
                path,
                f"`{app.name}` and `{owners[app.host]}` have the same host {app.host}.",
                "Give each app a host of its own: a session belongs to one host.",
            )
        owners.setdefault(app.host, app.name)
    for service in catalogue.services.values():
        if service.name in catalogue.apps:
            log.wrong(
                ("services", service.name),
                f"There is an app named `{service.name}` already.",
                "Rename one: policies, tests and people tell resources by their names.",
            )
        elif service.host in owners:
            log.wrong(
                ("services", service.name),
                f"`{service.name}` and the app `{owners[service.host]}` have the same host {service.host}.",
                "Give the app another host, or rename the service.",
            )
    for name in catalogue.clients:
        if name in catalogue.apps or name in catalogue.services:
            log.wrong(
                ("clients", name),
                f"There is an app or a service named `{name}` already.",
                "Rename one: policies, tests and people tell resources by their names.",
            )


def _check_names(catalogue: Catalogue, log: Log) -> None:
    for app in catalogue.apps.values():
        for index, other in enumerate(app.trusts):
            if other not in catalogue.apps:
                _unknown(("apps", app.name, "trusts", index), "app", other, catalogue.apps, log)
    sections: tuple[tuple[str, Mapping[str, AppConfig | ServiceConfig | ClientConfig]], ...] = (
        ("apps", catalogue.apps),
        *plain_resources(catalogue),
    )
    for section, resources in sections:
        for resource in resources.values():
            segment = resource.segment
            if segment is not None and segment not in catalogue.segments:
                path = (section, resource.name, "segment")
                _unknown(path, "segment", segment, catalogue.segments, log)


def _check_segments(catalogue: Catalogue, log: Log) -> None:
    for name in catalogue.segments:
        seen = [name]
        above = catalogue.segments[name]
        while above is not None and above not in seen:
            seen.append(above)
            above = catalogue.segments[above]
        if above == name:
            circle = " in ".join([*seen, name])
            log.wrong(("segments", name), f"Segments run in a circle: {circle}.", "Remove one `in`.")
            return


def _check_routes(app: AppConfig, log: Log) -> None:
    for index, route in enumerate(app.routes):
        for other in app.routes[:index]:
            path: Path = ("apps", app.name, "routes", index)
            if route.name == other.name:
                log.wrong((*path, "name"), f"Two routes are named `{route.name}`.", "Rename one.")
            if specificity(route) == specificity(other) and overlap(route, other):
                log.wrong(
                    (*path, "path"),
                    f"`{route.path}` and `{other.path}` are equally specific, so neither wins.",
                    "Make one of them more literal, or give them different methods.",
                    "equal-routes",
                )


def _unknown(path: Path, what: str, name: str, known: Mapping[str, Any], log: Log) -> None:
    near = nearest(name, known)
    remedy = f"Did you mean `{near}`?" if near else f"Declare it under `{what}s:`."
    log.wrong(path, f"There is no {what} `{name}`.", remedy)
