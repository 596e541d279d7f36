import pytest

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError


def test_there_are_these_data_sets():
    assert em.data.names() == ("digits", "mnist", "rotmnist", "galaxies", "skin", "textures:H")


@pytest.mark.parametrize("name", ["cifar", "", "Digits"])
def test_an_unknown_data_set_is_refused_with_those_there_are(name):
    with pytest.raises(
        ConfigurationError, match=f'no data set "{name}"; there are digits, mnist, rotmnist, galaxies, skin, textures:H'
    ):
        em.data.load(name)


@pytest.mark.parametrize("name", ["textures:", "textures:H", "textures:C3", "textures:c4"])
def test_textures_of_a_group_that_is_none_are_refused_with_those_there_are(name):
    subgroup = name.removeprefix("textures:")
    with pytest.raises(GroupError, match=f'no subgroup "{subgroup}"; there are C1, .*D4'):
        em.data.load(name)


@pytest.mark.parametrize("subgroup", em.search_groups("D4"), ids=str)
def test_textures_are_loaded_by_the_name_of_their_group(subgroup):
    data = em.data.load(f"textures:{subgroup.name}")
    assert data.name == f"textures:{subgroup.name}" and len(data.train) == 1000
