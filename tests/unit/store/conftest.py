"""Both databases for the store's unit tests: `database` is the URL of one without changes."""

from collections.abc import Iterator

import pytest
from store_backends import PRODUCTS, new_database


@pytest.fixture(params=PRODUCTS)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with new_database(request.param) as url:
        yield url
