"""The demo's control: `limen control`, with the demo's people put into an empty directory before it starts.

On a running system only the admin API changes people, and it sets no passwords.
"""

from pathlib import Path
from typing import Annotated

import typer

from limen.administrator.desk import seal_context
from limen.core.clock import SystemClock
from limen.information.identity.passwords import PasswordHasher
from limen.services.control import ControlOptions, run_control
from limen.services.demo.people import DemoPerson, load_people, people_file
from limen.services.state import StateDir
from limen.store import directory
from limen.store.credentials import set_password, set_totp
from limen.store.database import Store
from limen.store.sealing import CREDENTIALS, Sealer

GROUPS = {"staff": "Staff", "engineers": "Engineers", "hr": "HR", "contractors": "Contractors",
          "limen-admins": "Administrators of Limen"}  # fmt: skip


def main(
    state: Annotated[Path, typer.Option()],
    bundle: Annotated[Path, typer.Option()],
    public_port: Annotated[int, typer.Option()],
) -> None:
    """Enrol, then run."""
    folder = StateDir.create(state)
    with Store.open(folder.database, SystemClock()) as store:
        enrol_people(store, Sealer(folder.key(CREDENTIALS)), load_people(people_file(state)))
    run_control(ControlOptions(state=state, bundle=bundle, public_port=public_port, metrics=None))


def enrol_people(store: Store, sealer: Sealer, people: tuple[DemoPerson, ...]) -> bool:
    """Put the people into an empty directory, ready to sign in. False when somebody is there already.

    The demo does this before control starts; on a running system only the admin API changes people.
    """
    with store.read() as connection:
        if directory.count_people(connection):
            return False
    hasher = PasswordHasher()
    hashes = {person.role.username: hasher.hash(person.password) for person in people}
    with store.transaction("demo", "the demo's people") as tx:
        for name, title in GROUPS.items():
            directory.create_group(tx, name, title=title)
        for person in people:
            role = person.role
            directory.create_person(
                tx, role.username, name=role.name, email=f"{role.username}@limen.localhost", kind=role.kind
            )
            for group in role.groups:
                directory.add_member(tx, group, role.username)
            sealed = sealer.seal(person.totp_seed, seal_context(role.username))
            set_password(tx.connection, role.username, hashes[role.username], tx.now)
            set_totp(tx.connection, role.username, sealed, 0, tx.now)
    return True


if __name__ == "__main__":
    typer.run(main)
