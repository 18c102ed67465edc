from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tascel.route.classify import Classifier

WORDS = 40  # of a task; every prompt also holds the first five numbers, which tell nothing


def prompts(task, count, rng):
    """Prompts of ten words of their task."""
    words = 100 + WORDS * task + np.arange(WORDS)
    shared = np.arange(5)
    drawn = [np.concatenate([shared, rng.choice(words, 10, replace=False)]) for _ in range(count)]
    return [np.unique(row).astype(np.uint32) for row in drawn]


def mixture(tasks, count=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = [row for task in range(tasks) for row in prompts(task, count, rng)]
    return rows, np.repeat(np.arange(tasks, dtype=np.int32), count)


def learned(tasks, **more):
    rows, labels = mixture(tasks)
    return Classifier.fit(rows, labels, np.arange(len(labels), dtype=np.int32) % 3, **more)


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_new_prompts_find_their_task(tasks):
    classifier = learned(tasks)
    rows, labels = mixture(tasks, seed=1)
    guesses = [classifier.classify(row) for row in rows]
    assert [guess.task for guess in guesses] == labels.tolist()
    assert np.mean([guess.unknown for guess in guesses]) < 0.2
    assert min(guess.confidence for guess in guesses) > 0.9


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_prompts_of_no_task_are_unknown(tasks):
    classifier = learned(tasks)
    strange = prompts(tasks + 1, 20, np.random.default_rng(0))
    assert all(classifier.classify(row).unknown for row in strange)
    assert classifier.classify(np.zeros(0, np.uint32)).unknown


def test_a_prompt_between_two_tasks_is_less_sure():
    classifier = learned(2)
    rows, _ = mixture(2, seed=1)
    between = np.union1d(rows[0], rows[-1])
    assert classifier.classify(between).confidence < classifier.classify(rows[0]).confidence


def test_probabilities_go_with_the_guess_and_sum_to_one():
    classifier = learned(3)
    for row in mixture(3, count=5, seed=2)[0]:
        chances, guess = classifier.probabilities(row), classifier.classify(row)
        assert chances.dtype == np.float32
        assert chances.sum() == pytest.approx(1)
        assert chances.argmax() == guess.task
        assert chances.max() == pytest.approx(guess.confidence)
        assert guess.unknown == (classifier.familiarity(row) < classifier.calibration[1])


def test_confidence_is_as_often_right_as_it_says():
    """Two tasks that share most of their words."""
    rng = np.random.default_rng(0)

    def drawn(task):
        chance = np.where(np.arange(30) < 15, 0.5 + 0.1 * (2 * task - 1), 0.5)
        return np.flatnonzero(rng.random(30) < chance).astype(np.uint32)

    labels = rng.integers(0, 2, 2000).astype(np.int32)
    rows = [drawn(task) for task in labels]
    half = len(rows) // 2
    classifier = Classifier.fit(rows[:half], labels[:half], np.arange(half, dtype=np.int32) % 3)
    guesses = [classifier.classify(row) for row in rows[half:]]
    right = np.mean([g.task == t for g, t in zip(guesses, labels[half:], strict=True)])
    assert np.mean([g.confidence for g in guesses]) == pytest.approx(right, abs=0.05)


def test_the_same_prompts_teach_the_same():
    one, other = learned(3), learned(3)
    for field in fields(Classifier):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_arrays_are_what_the_docstring_says():
    classifier = learned(3)
    found = {field.name: getattr(classifier, field.name).dtype.name for field in fields(Classifier)}
    assert found == {
        "known": "uint32",
        "rarity": "float32",
        "weights": "float16",
        "dense": "float32",
        "bias": "float32",
        "calibration": "float32",
    }


def test_a_fold_may_hold_all_there_is_of_a_task():
    rows, labels = mixture(3)
    classifier = Classifier.fit(rows, labels, labels)
    assert classifier.classify(rows[0]).task == 0
    two, label = mixture(2)
    assert Classifier.fit(two, label, label).classify(two[-1]).task == 1


def test_an_embedding_decides_where_features_cannot():
    rng = np.random.default_rng(0)
    rows = prompts(0, 60, rng)  # both tasks say the same
    labels = (np.arange(60) % 2).astype(np.int32)
    points = np.where(labels[:, None] == 1, [1, 0], [0, 1]).astype(np.float32)
    classifier = Classifier.fit(rows, labels, np.arange(60, dtype=np.int32) % 3, points)
    assert classifier.classify(rows[0], points[1]).task == 1
    assert classifier.classify(rows[0], points[0]).task == 0
    with pytest.raises(ValueError, match="embeddings"):
        classifier.classify(rows[0])


def test_arrays_that_do_not_fit_are_refused():
    classifier = learned(2)
    with pytest.raises(ValueError, match="no classifier"):
        replace(classifier, bias=classifier.bias[:1])
    with pytest.raises(ValueError, match="no classifier"):
        replace(classifier, known=classifier.known[:-1])


@given(arrays(np.uint32, st.integers(0, 60), elements=st.integers(0, 400), unique=True))
def test_any_prompt_gets_a_task(features):
    guess = CLASSIFIER.classify(np.sort(features))
    assert 0 <= guess.task < 3
    assert 0 <= guess.confidence <= 1
    assert plainly(CLASSIFIER, np.sort(features)) == pytest.approx(
        CLASSIFIER.familiarity(np.sort(features)), abs=1e-3
    )


CLASSIFIER = learned(3)


def plainly(classifier, features):
    """Familiarity, feature by feature."""
    weight = dict(zip(classifier.known.tolist(), classifier.weights.astype(float), strict=True))
    rarity = dict(zip(classifier.known.tolist(), classifier.rarity.tolist(), strict=False))
    here = [f for f in features.tolist() if f in weight]
    length = sum(rarity[f] ** 2 for f in here)
    scores = classifier.bias.astype(float)
    for f in here:
        scores = scores + rarity[f] * weight[f] / max(length, 1e-9) ** 0.5
    best = scores.argmax()
    seen = sum(rarity[f] ** 2 for f in here if weight[f][best] > 0)
    unseen = (len(features) - len(here)) * float(classifier.rarity[-1]) ** 2
    return scores[best] + 2 * seen / max(length + unseen, 1e-9)
