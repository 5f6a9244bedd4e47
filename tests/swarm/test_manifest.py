import dataclasses

import pytest

from jaxswarm.errors import InputError
from jaxswarm.swarm import manifest
from jaxswarm.swarm.manifest import Manifest

OWN = Manifest(data="d1", question_seed=7, questions_per_round=4, prompts="terse 1")
OTHERS = {
    "data": "d2",
    "question_seed": 8,
    "questions_per_round": 5,
    "prompts": "terse 2",
    "protocol": manifest.PROTOCOL + 1,
}


@pytest.mark.parametrize(("field", "value"), OTHERS.items())
def test_the_field_that_differs_is_named_with_both_values(field: str, value: object) -> None:
    theirs = dataclasses.replace(OWN, **{field: value})
    with pytest.raises(InputError) as caught:
        manifest.check(OWN.fields(), [theirs.fields()])
    assert f"field {field!r}: got {getattr(OWN, field)!r}; expected {value!r}" in str(caught.value)


@pytest.mark.parametrize("field", OWN.__slots__)
def test_each_field_says_how_to_come_to_agree(field: str) -> None:
    assert "jaxswarm" in manifest.AGREE_BY[field] or "--config." in manifest.AGREE_BY[field]


def test_where_all_differs_the_protocol_is_named() -> None:
    with pytest.raises(InputError, match="field 'protocol'"):
        manifest.check(OWN.fields(), [dataclasses.replace(OWN, **OTHERS).fields()])


def test_a_field_that_only_they_have_is_named() -> None:
    theirs = (*OWN.fields(), ("zone", "north"))
    with pytest.raises(InputError, match="field 'zone': got None; expected 'north'"):
        manifest.check(OWN.fields(), [theirs])


def test_agreement_and_solitude_pass() -> None:
    manifest.check(OWN.fields(), [])
    manifest.check(OWN.fields(), [OWN.fields()] * 3)


def test_more_must_disagree_than_agree() -> None:
    other = dataclasses.replace(OWN, data="d2").fields()
    manifest.check(OWN.fields(), [OWN.fields(), other])
    with pytest.raises(InputError):
        manifest.check(OWN.fields(), [OWN.fields(), other, other])


def test_the_manifest_of_most_is_the_one_compared_with() -> None:
    rare = dataclasses.replace(OWN, data="rare").fields()
    common = dataclasses.replace(OWN, data="common").fields()
    with pytest.raises(InputError, match="expected 'common'"):
        manifest.check(OWN.fields(), [rare, common, common])
