"""As many tasks are found as help to draft held-out answers."""

from dataclasses import fields

import numpy as np
import pytest

from tascel.route import find as finding
from tascel.route.find import Trial, find
from tascel.route.policy import Tally


def silent(done, of):
    pass


@pytest.fixture(scope="module")
def try_with(seen_of, reader, tokenizer):
    """`try_with(traces, groups)` is a trial with all of them."""

    def make(some, groups=None, sample=None):
        seen = seen_of(some)
        sample = (
            np.random.default_rng(0).permutation(len(some)).tolist() if sample is None else sample
        )
        groups = np.arange(len(sample), dtype=np.int32) if groups is None else groups
        end = frozenset({tokenizer.convert_tokens_to_ids("<|im_end|>")})
        return seen, Trial(seen, sample, groups, reader, end, len(tokenizer))

    return make


@pytest.fixture(scope="module")
def both(two_tasks, try_with):
    return try_with(two_tasks(110))


def test_two_tasks_are_found_if_that_helps(both, monkeypatch):
    seen, trial = both
    monkeypatch.setattr(finding, "BETTER", 0.5)  # on toys the gain is anybody's guess
    monkeypatch.setattr(finding, "partitions", lambda about, said: halves(len(about)))
    found = find(seen, trial, None, silent)
    assert found is not None
    assert len({*found.labels[:110].tolist()}) == 1
    assert len({*found.labels[110:].tolist()}) == 1
    assert len(found.tallies) == 2
    guesses = [found.classifier.classify(seen.about[i]).task for i in (0, 5, 115, 219)]
    assert guesses == found.labels[[0, 5, 115, 219]].tolist()


def halves(count):
    """One cluster, or the two there are."""
    whole = np.zeros(count, np.int32)
    return {1: whole, 2: (np.arange(count) >= count / 2).astype(np.int32)}


def test_one_task_stays_one(two_tasks, try_with, monkeypatch):
    monkeypatch.setattr(finding, "BETTER", 1.5)
    seen, trial = try_with(two_tasks(100)[:100])
    assert find(seen, trial, None, silent) is None


def test_finer_clusters_are_not_tried_for_ever(both, monkeypatch):
    seen, trial = both
    tried = []
    ways = {n: np.arange(len(seen), dtype=np.int32) % n for n in (1, 2, 3, 4, 5, 6)}
    monkeypatch.setattr(finding, "partitions", lambda about, said: ways)
    monkeypatch.setattr(
        trial, "tallies", lambda labels: tried.append(int(labels.max()) + 1) or trial.pooled
    )
    assert find(seen, trial, None, silent) is None
    assert tried == [2, 3, 4]


def test_labels_are_taken_at_their_word(both):
    seen, trial = both
    labels = (np.arange(220) % 2).astype(np.int32)
    found = find(seen, trial, labels, silent)
    assert found is not None
    assert found.labels is labels
    assert len(found.tallies) == len(found.classifier.bias) == 2


def test_a_task_that_the_sample_lacks_has_a_number_and_no_prompts(two_tasks, try_with):
    some = two_tasks(60)
    seen, trial = try_with(some, sample=[*range(40), *range(60, 100)])
    labels = np.repeat([0, 1], 60).astype(np.int32)
    labels[[50, 110]] = 2, 3
    found = find(seen, trial, labels, silent)
    assert len(found.tallies) == len(found.classifier.bias) == 4
    assert found.classifier.classify(seen.about[0]).task == 0
    assert found.tallies[3] == (Tally.empty(), Tally.empty()) or not found.tallies[3][0].tokens


def test_two_groups_of_look_alikes_are_enough(two_tasks, try_with):
    """One is held out, and in the other every trace stands for itself."""
    seen, trial = try_with(
        two_tasks(30), np.repeat([0, 1], 30).astype(np.int32), sample=[*range(60)]
    )
    found = find(seen, trial, np.repeat([0, 1], 30).astype(np.int32), silent)
    assert found.classifier.classify(seen.about[3]).task == 0
    assert found.classifier.classify(seen.about[40]).task == 1


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_handful_of_labelled_traces_is_no_error(two_tasks, try_with, count):
    seen, trial = try_with(two_tasks(count)[:count])
    labels = (np.arange(count) > 0).astype(np.int32)
    assert len(find(seen, trial, labels, silent).tallies) == 2


def test_no_task_is_held_out_whole():
    """Or else who tells tasks apart would be judged on one it has never seen."""
    groups = np.array([0] * 20 + [1] * 20 + [*range(2, 42)], np.int32)
    label = np.repeat([0, 1, 2], [20, 20, 40]).astype(np.int32)
    folds = finding._apart(groups, label)
    assert all(len({*folds[label == task].tolist()}) == finding.FOLDS for task in range(3))
    together = finding._apart(groups, np.zeros(80, np.int32))
    assert len({*together[:20].tolist()}) == len({*together[20:40].tolist()}) == 1


def test_tallies_of_a_task_add_up_to_its_answers(both):
    trial = both[1]
    labels = halves(220)[2]
    pairs = trial.by_task(labels, trial.tallies(labels))
    written = sum(len(output) for output in trial._tried.outputs)
    for drafts in zip(*pairs, strict=True):
        assert sum(t.tokens for t in drafts) == written


def test_seen_is_the_same_read_or_not(two_tasks, seen_of):
    lazily = seen_of(two_tasks(6))
    at = [5, 0, 11]
    for some in (lazily.some(at), lazily.some(at).read(), lazily.read().some(at)):
        assert len(some) == 3
        for field in fields(some):
            for i, place in enumerate(at):
                one, other = getattr(some, field.name)[i], getattr(lazily, field.name)[place]
                np.testing.assert_equal([*one], [*other])
    assert [*map(len, lazily.about[2:4])] == [len(lazily.about[2]), len(lazily.about[3])]
