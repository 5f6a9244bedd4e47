"""Where packed completions lie."""

import numpy as np
import pytest

from jaxswarm.learner.packing import pack


@pytest.mark.parametrize(("buckets", "shape"), [((4, 6, 7), (6, 16)), ((4, 4.25, 6), (4, 17))])
def test_each_token_lies_in_one_slot_and_completions_in_one_piece(buckets, shape):
    rng = np.random.default_rng(0)
    length_QxG = rng.integers(0, 13, (5, 8))
    packing = pack(length_QxG, 16, buckets)
    assert packing is not None
    assert packing.source_QxRxS.shape[1:] == shape
    for q in range(5):
        slots = packing.source_QxRxS[q].ravel()
        for g in range(8):
            first, length = packing.first_QxG[q, g], length_QxG[q, g]
            np.testing.assert_array_equal(slots[first : first + length], g * 16 + np.arange(length))
            assert first % shape[1] + length <= shape[1]
        assert (slots >= 0).sum() == length_QxG[q].sum()


def test_the_fewest_rows_that_all_questions_fit():
    length_QxG = np.array([[8, 8, 1, 1], [8, 5, 3, 2]])
    assert pack(length_QxG, 8, (2, 3)).source_QxRxS.shape == (2, 3, 8)
    assert pack(length_QxG, 8, (2,)) is None
    assert pack(length_QxG, 8, ()) is None
