"""The bundle in force, parsed and compiled once for all who decide by it."""

from collections.abc import Mapping

import msgspec

from limen.core.catalogue import Catalogue
from limen.core.changes import BundleFact
from limen.core.entities import Entity
from limen.core.ids import EntityRef
from limen.core.resources import catalogue_entities
from limen.engine.bundle import Bundle, parse_bundle
from limen.engine.policies import Policies, compile_policies


class ActiveBundle(msgspec.Struct, frozen=True):
    """What a bundle means: its catalogue, its compiled policies, the entities of its resources."""

    id: str
    catalogue: Catalogue
    policies: Policies
    entities: Mapping[EntityRef, Entity]


def load_bundle(fact: BundleFact) -> ActiveBundle:
    """Parse and compile the bundle of the feed.

    Raises:
        BundleRefused: its files are not a bundle for this release.
    """
    return activate(parse_bundle(fact.files))


def activate(bundle: Bundle) -> ActiveBundle:
    """Compile a bundle that is parsed already."""
    return ActiveBundle(
        id=bundle.id,
        catalogue=bundle.catalogue,
        policies=compile_policies(bundle),
        entities=catalogue_entities(bundle.catalogue),
    )
