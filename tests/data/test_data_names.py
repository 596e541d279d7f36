import pytest

import equimorph as em
from equimorph.errors import ConfigurationError


def test_there_are_these_data_sets():
    assert em.data.names() == ("digits", "mnist", "rotmnist")


@pytest.mark.parametrize("name", ["cifar", "", "Digits"])
def test_an_unknown_data_set_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigurationError, match=f'no data set "{name}"; there are digits, mnist, rotmnist'):
        em.data.load(name)
