"""What `limen demo` says once it serves: where things are, who to be, what to try."""

from collections.abc import Mapping, Sequence
from typing import Any

from limen.services.demo.people import DemoPerson

THINGS_TO_TRY = (
    "Open the wiki as linus, and try to change a page: read why not, and note the decision's id.",
    "Open payroll as grace: it asks for a passkey. Add one under My apps, and try again.",
    "Open the tool's admin part as ada, then as joan.",
    "Sign out everywhere, and go back to a tab that was open.",
    "Open {wiki}/live as linus, see it in limen stream list --state {state_dir}, and cut it:\n"
    "    limen user quarantine linus --reason trying --state {state_dir} (and release him)",
    "See what was decided: limen decisions tail --state {state_dir}",
    "Derive a decision again: limen decisions show ID --state {state_dir}",
    "Provision people from elsewhere, by SCIM: limen scim token demo --state {state_dir}",
)

SERVICE_TO_TRY = (
    "Reach what is no web app, as ada: limen login {auth_url} --ca {ca_file}\n"
    "    and then: limen connect ledger --stdio (type: list)",
)


def ready_content(
    *,
    domain: str,
    port: int,
    ca_file: str,
    auth_url: str,
    apps: Mapping[str, str],
    services: Mapping[str, str],
    people: Sequence[DemoPerson],
    pid: int,
    state_dir: str,
) -> dict[str, Any]:
    """Return what the ready file holds."""
    return {
        "domain": domain,
        "port": port,
        "ca_file": ca_file,
        "auth_url": auth_url,
        "apps": dict(apps),
        "services": dict(services),
        "people": {person.role.username: person.shown() for person in people},
        "pid": pid,
        "state_dir": state_dir,
    }


def render_guide(ready: Mapping[str, Any], people: Sequence[DemoPerson]) -> str:
    """Return the whole greeting as plain text."""
    lines = [f"Limen's demo is open. Your apps: {ready['auth_url']}", ""]
    lines += [f"  {name:<8} {url}" for name, url in ready["apps"].items()]
    lines += [f"  {name:<8} no web app: limen connect {name}" for name in ready["services"]]
    lines += ["", "People to be (with any authenticator app; the secrets are for this folder only):", ""]
    for person in people:
        shown = ready["people"][person.role.username]
        lines.append(f"  {shown['username']:<6} {person.role.title} ({', '.join(shown['groups'])})")
        lines.append(f"         password {shown['password']}   TOTP secret {shown['totp_secret']}")
    lines += ["", "Things to try:", ""]
    wiki = ready["apps"].get("wiki", "")
    hints = (*THINGS_TO_TRY, *(SERVICE_TO_TRY if ready["services"] else ()))
    lines += [f"  - {hint.format(**{**ready, 'wiki': wiki})}" for hint in hints]
    return "\n".join([*lines, "", *_from_elsewhere(ready)])


def _from_elsewhere(ready: Mapping[str, Any]) -> list[str]:
    port, domain = ready["port"], ready["domain"]
    hosts = " ".join(f"{name}.{domain}" for name in ("auth", *ready["apps"], *ready["services"]))
    return [
        f"Browsers warn until they trust this demo's certificate authority, {ready['ca_file']}:",
        f"  limen trust --state {ready['state_dir']} says how. Passkeys work only without the warning.",
        "From another machine, keep the names and the port, and trust the same authority there:",
        f"  ssh -L {port}:127.0.0.1:{port} THIS-MACHINE",
        f"Chrome, Edge and Firefox send names below {domain} to their own machine. Safari asks the system:",
        f"  add to /etc/hosts: 127.0.0.1 {hosts}",
        "Ctrl-C stops everything.",
    ]
