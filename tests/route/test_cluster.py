import numpy as np
import pytest

from tascel.route import cluster
from tascel.route.cluster import names, partitions

TASKS = 4


def rows(label, rng, base):
    words = (
        base + 50 * label[:, None] + rng.permuted(np.tile(np.arange(50), (len(label), 1)), axis=1)
    )
    return [np.unique(np.append(row[:12], 7)).astype(np.uint32) for row in words]


def traces(count=400):
    rng = np.random.default_rng(0)
    label = rng.choice(TASKS, count, p=[0.4, 0.3, 0.2, 0.1])
    return label, rows(label, rng, 1000), rows(label, rng, 9000)


def same(labels, truth):
    """Whether each cluster is one task and each task one cluster."""
    pairs = {*zip(labels.tolist(), truth.tolist(), strict=True)}
    return len(pairs) == len({*labels.tolist()}) == len({*truth.tolist()})


def test_tasks_are_found_without_labels(monkeypatch):
    monkeypatch.setattr(cluster, "COUNTS", (1, 2, 4, 9))
    label, prompts, outputs = traces()
    ways = partitions(prompts, outputs)
    assert sorted(ways) == [1, 2, 4, 9]
    assert same(ways[4], label)
    assert ways[4].dtype == np.int32


def test_finer_partitions_refine_coarser_ones_and_start_with_the_largest():
    _, prompts, outputs = traces()
    ways = partitions(prompts, outputs)
    for few, many in zip(sorted(ways), sorted(ways)[1:], strict=False):
        pairs = {*zip(ways[many].tolist(), ways[few].tolist(), strict=True)}
        assert len(pairs) == many
    for count, labels in ways.items():
        sizes = np.bincount(labels)
        assert len(sizes) == count
        assert (np.diff(sizes) <= 0).all()


def test_outputs_tell_tasks_apart_where_prompts_do_not(monkeypatch):
    monkeypatch.setattr(cluster, "COUNTS", (1, 2, 4))
    label, prompts, outputs = traces()
    assert same(partitions([prompts[0]] * len(label), outputs)[4], label)


def test_traces_beyond_the_sample_join_the_nearest(monkeypatch):
    monkeypatch.setattr(cluster, "COUNTS", (1, 4))
    monkeypatch.setattr(cluster, "_SAMPLE", 150)
    monkeypatch.setattr(cluster, "_BATCH", 60)
    label, prompts, outputs = traces()
    assert same(partitions(prompts, outputs)[4], label)


def test_the_same_traces_give_the_same_clusters():
    _, prompts, outputs = traces()
    one, other = partitions(prompts, outputs), partitions(prompts, outputs)
    assert one.keys() == other.keys()
    assert all((one[count] == other[count]).all() for count in one)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_traces_and_equal_ones_are_no_error(count):
    row = np.array([3, 4], np.uint32)
    ways = partitions([row] * count, [row] * count)
    assert ways[1].tolist() == [0] * count


def test_names_are_what_a_cluster_says_and_others_do_not():
    labels = np.repeat([0, 1], 6).astype(np.int32)
    colours = ("red", "blue", "gold", "pink", "grey", "black")
    texts = [f"set a {c} alarm" for c in colours] + [f"play a {c} song" for c in colours]
    first, second = names(labels, texts.__getitem__)
    assert first.split(", ")[0] in ("alarm", "set")
    assert "play" in second
    assert "alarm" not in second


def test_no_two_names_are_alike():
    given = names(np.arange(3, dtype=np.int32), lambda i: "the same words")
    assert len({*given}) == 3
    assert names(np.zeros(2, np.int32), lambda i: "12 !") == ["nothing"]


def test_names_hold_nothing_that_few_traces_say():
    labels = np.zeros(20, np.int32)
    four = names(labels, lambda i: f"secret {i}" if i < 4 else "open")
    assert four == ["nothing"]  # sixteen times the same is one text
    assert names(labels, lambda i: f"{'secret' if i < 5 else ''} {i}") == ["secret"]
