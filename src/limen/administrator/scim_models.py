"""What Limen's SCIM server is: its schemas, its limits, and how far clients may depart from the letter.

The schemas are RFC 7643's own, without two attributes: `password`, since no password comes into Limen from
elsewhere; and `display` of members, which section 4.2 does not have either (the member says its own name).

Clients depart in known ways: Microsoft Entra writes `False` as text, gives `remove` a value, and addresses
`emails[type eq "work"].value` where there is no such address yet; some send attributes of their own. All of
that is taken; what no schema names is left out.
"""

from functools import cache
from typing import Any

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    ETag,
    External,
    Filter,
    Pagination,
    Patch,
    Reference,
    Resource,
    ResourceType,
    Schema,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
)
from scim2_server.utils import load_default_resource_types, load_default_schemas

from limen.store.scim import GROUP, USER

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_URN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

PAGE, PAGE_MAX = 100, 200  # resources of one answer
BULK_OPERATIONS_MAX = 1_000
BULK_MAX_BYTES = 1_048_576
BODY_MAX_BYTES = 4 * 1_048_576  # a group of 20,000 members is 2 MB
CURSOR_S = 3_600

POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


@cache
def load_provider() -> ScimProvider:
    """Return the description of the service. Models are made of schemas, once: it takes a moment."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=True, max_operations=BULK_OPERATIONS_MAX, max_payload_size=BULK_MAX_BYTES),
        filter=Filter(supported=True, max_results=PAGE_MAX),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="A token that `limen scim token` has made.",
                spec_uri=Reference[External]("https://www.rfc-editor.org/rfc/rfc6750"),
                primary=True,
            )
        ],
        pagination=Pagination(
            cursor=True,
            index=True,
            default_pagination_method=Pagination.DefaultPaginationMethod.index,
            default_page_size=PAGE,
            max_page_size=PAGE_MAX,
            cursor_timeout=CURSOR_S,
        ),
    )
    types = load_default_resource_types().values()
    return ScimProvider.from_discovery(_schemas(), types, config=config, policy=POLICY)


def model_of(kind: str) -> type[Resource[Any]]:
    """Return the model of a kind of resource, extensions included."""
    found = load_provider().model_for(kind)
    assert found is not None and issubclass(found, Resource)
    return found


def resource_type(kind: str) -> ResourceType:
    """Return the resource type of a kind."""
    return next(one for one in load_provider().resource_types if one.name == kind)


def _schemas() -> list[Schema]:
    found = []
    for schema in load_default_schemas().values():
        tree = schema.model_dump()
        if schema.id == USER_URN:
            tree["attributes"] = [one for one in tree["attributes"] if one["name"] != "password"]
        if schema.id == GROUP_URN:
            members = next(one for one in tree["attributes"] if one["name"] == "members")
            parts = members["subAttributes"]
            members["subAttributes"] = [one for one in parts if one["name"] != "display"]
        found.append(Schema.model_validate(tree))
    return found


KINDS = (USER, GROUP)
"""Of resources, as `meta.resourceType` says them."""
