import numpy as np

from tascel.route.vectors import matrix, positions, vocabulary


def row(*features):
    return np.array(features, np.uint32)


ROWS = [row(1, 2, 5), row(1, 2, 7), row(1, 5, 9), row(1)]


def test_a_vocabulary_holds_what_occurs_twice_and_weighs_it_by_how_rare_it_is():
    known, rarity = vocabulary(ROWS)
    assert known.tolist() == [1, 2, 5]
    np.testing.assert_allclose(rarity**2, np.log([4 / 4, 4 / 2, 4 / 2, 4 / 1]), atol=1e-6)


def test_positions_are_those_of_the_features_known():
    known = row(3, 5, 8)
    assert positions(row(1, 3, 6, 8, 9), known).tolist() == [0, 2]
    assert positions(row(), known).tolist() == []
    assert positions(row(1, 9), row()).tolist() == []


def test_rows_have_length_one_or_nothing_in_them():
    rows = matrix(ROWS, *vocabulary(ROWS)).toarray()
    np.testing.assert_allclose((rows**2).sum(axis=1), [1, 1, 1, 0], atol=1e-6)
    assert rows[0, 1] == rows[0, 2] > 0 == rows[1, 2]


def test_no_rows_have_no_vocabulary():
    known, rarity = vocabulary([row(), row()])
    assert len(known) == 0
    assert matrix([row()], known, rarity).shape == (1, 0)
