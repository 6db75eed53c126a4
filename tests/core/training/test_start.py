"""Which clips a training has."""

import pytest

from byav_core.config import tiny
from byav_core.training.config import Data, TrainingConfig
from byav_core.training.start import source_of


@pytest.mark.parametrize(
    "people, counts",
    [((1, 2), {1: 5, 2: 5}), ((3, 1, 3, 2, 3), {1: 2, 2: 2, 3: 6}), ((4,), {4: 10})],
)
def test_a_number_of_people_named_more_often_has_more_of_the_clips(people, counts):
    source = source_of(TrainingConfig(Data(drawn=10, people=people), "out"), tiny())
    assert dict(source.counts) == counts and list(source.counts) == sorted(counts)
