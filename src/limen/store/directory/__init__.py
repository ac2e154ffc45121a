"""The directory: people, groups, memberships, nesting, and their import from CSV.

Every function that writes takes a transaction and records the new projections of what it touched.
"""

from limen.store.directory.csv_import import import_csv, import_rows
from limen.store.directory.csv_rows import ImportReport, RowError, parse_people
from limen.store.directory.groups import (
    Group,
    add_member,
    create_group,
    delete_group,
    get_group,
    list_groups,
    list_members,
    nest,
    remove_member,
    sync_memberships,
    unnest,
)
from limen.store.directory.people import (
    LOCAL,
    PeopleFilter,
    Person,
    count_people,
    create_person,
    find_person,
    get_person,
    list_people,
    note_signed_in,
    update_person,
)

__all__ = [
    "LOCAL",
    "Group",
    "ImportReport",
    "PeopleFilter",
    "Person",
    "RowError",
    "add_member",
    "count_people",
    "create_group",
    "create_person",
    "delete_group",
    "find_person",
    "get_group",
    "get_person",
    "import_csv",
    "import_rows",
    "list_groups",
    "list_members",
    "list_people",
    "nest",
    "note_signed_in",
    "parse_people",
    "remove_member",
    "sync_memberships",
    "unnest",
    "update_person",
]
