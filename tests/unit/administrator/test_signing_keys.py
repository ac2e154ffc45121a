"""Keys that sign: made once, published, rotated; nothing else passes for what they signed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_world import World
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from limen.administrator.signing_keys import KEPT_S, PUBLISHED_BEFORE_S, ROTATE_S, SigningKeys
from limen.core.errors import Invalid
from limen.information.identity.jwks import TokenInvalid


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def keys_of(world: World, **more: str) -> SigningKeys:
    return SigningKeys(world.parts.desk.ledger, world.clock, world.sealer, **more)


def test_two_nodes_sign_with_one_key(world: World) -> None:
    one, two = keys_of(world), keys_of(world)
    tokens = [keys.sign({"a": 1}, typ="JWT", alg="ES256") for keys in (one, two)]
    published = KeySet.import_key_set(two.jwks(["ES256"]))
    assert len(published.keys) == 1
    for token in tokens:
        assert jwt.decode(token, published, algorithms=["ES256"]).claims == {"a": 1}


def test_a_successor_is_published_before_it_signs_and_its_predecessor_after(world: World) -> None:
    keys = keys_of(world)
    first = jwt.decode(keys.sign({}, typ="JWT", alg="ES256"), _set(keys), algorithms=["ES256"]).header["kid"]
    world.clock.advance(ROTATE_S)
    keys.sweep()
    both = {row.kid for row in keys.known()}
    assert len(both) == 2 and _signer(keys) == first
    world.clock.advance(PUBLISHED_BEFORE_S + 1)
    keys.sweep()
    second = _signer(keys)
    assert second != first and {key.kid for key in _set(keys).keys} == both
    world.clock.advance(KEPT_S + 1)
    keys.sweep()
    assert {key.kid for key in _set(keys).keys} == {second}


def test_a_clock_that_is_set_back_makes_no_second_key(world: World) -> None:
    keys = keys_of(world)
    keys.sign({}, typ="JWT", alg="ES256")
    world.clock.jump(-7_200)
    keys.sign({}, typ="JWT", alg="ES256")
    assert len(keys.known()) == 1


def test_what_was_signed_for_one_thing_is_no_other(world: World) -> None:
    keys = keys_of(world)
    token = keys.sign({"iss": "x"}, typ="at+jwt", alg="ES256")
    assert keys.verify(token, typ="at+jwt") == {"iss": "x"}
    for typ in ("JWT", "logout+jwt"):
        with pytest.raises(TokenInvalid):
            keys.verify(token, typ=typ)
    stranger = ECKey.generate_key("P-256", private=True)
    header = {"alg": "ES256", "typ": "at+jwt", "kid": keys.known()[0].kid}
    with pytest.raises(TokenInvalid):
        keys.verify(jwt.encode(header, {"iss": "x"}, stranger, algorithms=["ES256"]), typ="at+jwt")


def test_keys_of_one_use_never_sign_for_another(world: World) -> None:
    one, two = keys_of(world), keys_of(world, use="other")
    with pytest.raises(TokenInvalid):
        two.verify(one.sign({}, typ="JWT", alg="ES256"), typ="JWT")
    assert two.known() == ()


def test_only_what_everybody_can_verify_signs(world: World) -> None:
    for alg in ("none", "HS256", "RS1"):
        with pytest.raises(Invalid):
            keys_of(world).sign({}, typ="JWT", alg=alg)


def test_the_private_half_is_nowhere_in_clear(world: World) -> None:
    keys = keys_of(world)
    keys.sign({}, typ="JWT", alg="ES256")
    with world.store.read() as connection:
        from sqlalchemy import text

        row = connection.execute(text("SELECT private_sealed, public FROM signing_key")).one()
    assert "PRIVATE" not in str(row) and '"d"' not in str(row)


def _set(keys: SigningKeys) -> KeySet:
    return KeySet.import_key_set(keys.jwks(["ES256"]))


def _signer(keys: SigningKeys) -> str:
    token = keys.sign({}, typ="JWT", alg="ES256")
    return str(jwt.decode(token, _set(keys), algorithms=["ES256"]).header["kid"])
