"""Steps counted by hand, and as text."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.bench.bootstrap import interval
from tascel.bench.shown import shown
from tascel.bench.steps import Recorder, by_task, drafting
from tascel.codec import Codec
from tascel.decode.watch import Step
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.types import SOURCES, Request

CORPUS, SLOTS = SOURCES.index("corpus"), SOURCES.index("slots")


def tree(tokens, parents, sources, trust=None):
    return Proposal(
        np.array(tokens, np.int32),
        np.array(parents, np.int16),
        np.array(trust or [1.0] * len(tokens), np.float32),
        np.array(sources, np.uint8),
    )


FIRST = Step(0, Proposal.nothing(), [], [9])
#: 5 and 6 are right, 7 hangs beside 6 and 8 below it.
FORKED = Step(
    1, tree([5, 7, 6, 8], [-1, 0, 0, 1], [CORPUS, CORPUS, SLOTS, CORPUS]), [0, 2], [5, 6, 4]
)
WRONG = Step(4, tree([3], [-1], [SLOTS]), [], [2])
PLAIN = Step(5, Proposal.nothing(), [], [1])


def test_what_drafts_did_is_counted():
    counts = drafting([[FIRST, FORKED, WRONG, PLAIN]], None)
    assert counts == {
        "answers": 1,
        "passes": 3,
        "drafted_passes": 2,
        "tokens_written": [0, 2, 0, 1],
        "positions": [
            {"position": 1, "drafted": 2, "accepted": 1},
            {"position": 2, "drafted": 1, "accepted": 1},
            {"position": 3, "drafted": 1, "accepted": 0},
        ],
        "sources": {
            "corpus": {"offered": 3, "accepted": 1, "positions": [[1, 1, 1], [2, 1, 0], [3, 1, 0]]},
            "slots": {"offered": 2, "accepted": 1, "positions": [[1, 1, 0], [2, 1, 1]]},
        },
        "hindsight": None,
    }


def test_hindsight_is_the_cheapest_of_what_was_right():
    flat = drafting([[FIRST, FORKED, WRONG, PLAIN]], Price.from_points({1: 10.0, 5: 14.0}))
    hindsight = flat["hindsight"]
    assert hindsight["lengths"] == [[0, 0, 1], [1, 0, 1], [4, 2, 1]]
    # 14 + 11 + 10 ms for five tokens; in hindsight 12 for three, and 10 for each of two.
    assert hindsight["ms_a_token"] == pytest.approx(35 / 5)
    assert hindsight["ms_a_token_best"] == pytest.approx(32 / 5)
    assert hindsight["ms_of_one"] == 10
    assert hindsight["cut_short"] == 1 / 2

    whole = Step(1, FORKED.offered, [0, 2], [5, 6])  # the answer ends with its draft
    ended = drafting([[FIRST, whole]], Price.from_points({1: 10.0, 5: 14.0}))["hindsight"]
    assert ended["cut_short"] == 0
    # 11 ms for both tokens, had the last one been left to the model.
    assert ended["lengths"] == [[4, 1, 1]]
    assert ended["ms_a_token"] == pytest.approx(14 / 2)
    assert ended["ms_a_token_best"] == pytest.approx(11 / 2)

    steep = drafting([[FIRST, FORKED]], Price.from_points({1: 10.0, 5: 90.0}))["hindsight"]
    assert steep["lengths"] == [[4, 0, 1]]  # a token more takes 20 ms, another pass 10
    assert steep["ms_a_token_best"] == 10


def test_a_pass_that_reads_the_prompt_counts_where_it_was_drafted_for():
    reading = Step(0, FORKED.offered, [0, 2], [5, 6, 4])
    counts = drafting([[reading], [FIRST]], Price.free())
    assert (counts["answers"], counts["passes"], counts["drafted_passes"]) == (2, 1, 1)
    assert counts["tokens_written"] == [0, 0, 0, 1]
    assert counts["sources"]["slots"]["accepted"] == 1
    assert counts["hindsight"] is None  # its price is the prompt's, too
    both = drafting([[reading, WRONG]], Price.free())
    assert both["passes"] == 2
    assert both["hindsight"]["lengths"] == [[1, 0, 1]]


def test_nothing_drafted_is_no_error():
    counts = drafting([[FIRST, PLAIN]], Price.free())
    assert counts["drafted_passes"] == 0
    assert counts["positions"] == []
    assert counts["hindsight"]["cut_short"] == 0
    assert drafting([[FIRST]], Price.free())["tokens_written"] == [0]


def test_the_recorder_keeps_the_last_answer_of_the_first_requests():
    recorder = Recorder(most=1)
    a, b = (Request(name, np.array([1], np.int32)) for name in "ab")
    for request, step in ((a, FIRST), (a, FORKED), (b, FIRST), (b, PLAIN), (a, FIRST), (a, WRONG)):
        recorder(request, step)
    assert recorder.answers == {"a": [FIRST, WRONG]}


def test_tasks_are_told_apart_where_there_are_several():
    assert by_task(["x", "x"]) == by_task([None, None]) == {}
    assert by_task(["x", "y", None, "y"]) == {"y": [1, 3], "x": [0]}


def test_intervals_hold_the_ratio_and_narrow_with_more_answers():
    rng = np.random.default_rng(1)
    under = rng.uniform(1, 3, 400)
    over = 2 * under + rng.normal(0, 0.5, 400)
    low, high = interval(over.tolist(), under.tolist())
    assert low < over.sum() / under.sum() < high
    fewer = interval(over[:20].tolist(), under[:20].tolist())
    assert high - low < (fewer[1] - fewer[0]) / 2
    assert interval([0.0, 0.0], [0.0, 0.0]) == (1.0, 1.0)
    assert interval([4.0], [2.0]) == (2.0, 2.0)


@pytest.fixture(scope="module")
def codec(tokenizer):
    return Codec.from_tokenizer(tokenizer)


def spelled(codec, text):
    return codec.output(text).tolist()


def test_an_answer_is_shown_as_its_steps_with_every_branch(codec):
    a, b, c, e = (spelled(codec, letter)[0] for letter in "abce")
    end = codec.end_id
    draft = tree([b, e, c, end], [-1, -1, 0, 2], [CORPUS, SLOTS, CORPUS, CORPUS])
    steps = [
        Step(0, Proposal.nothing(), [], [a]),
        Step(1, draft, [0, 2], [b, c, end]),
    ]
    (answer,) = shown(codec, {"x": "Say abc"}, {"x": steps}, 3)
    assert (answer["rank"], answer["prompt"]) == ("", "Say abc")
    assert (answer["tokens"], answer["passes"]) == (4, 2)
    first, second = answer["steps"]
    assert first["pieces"] == [["a", "model"]]
    assert first["branches"] == []
    assert second["pieces"] == [["b", "corpus"], ["c", "corpus"], ["⟨end⟩", "model"]]
    assert (second["drafted"], second["accepted"], second["hidden"]) == (4, 2, 0)
    assert second["branches"] == [
        {
            "at": 1,
            "tokens": [["b", "corpus", True], ["c", "corpus", True], ["⟨end⟩", "corpus", False]],
        },
        {"at": 1, "tokens": [["e", "slots", False]]},
    ]


@pytest.mark.parametrize("text", ["naïve — 日本語 🎉", "the thin lion", "a\n\tb"])
def test_the_pieces_of_any_text_are_that_text(codec, text):
    ids = [*codec.output(text).tolist(), codec.end_id]
    cut = len(ids) // 2
    draft = tree(ids[cut:], range(-1, len(ids) - cut - 1), [CORPUS] * (len(ids) - cut))
    steps = [
        Step(0, Proposal.nothing(), [], ids[:cut]),
        Step(cut, draft, list(range(len(ids) - cut)), ids[cut:]),
    ]
    (answer,) = shown(codec, {"x": ""}, {"x": steps}, 1)
    pieces = [piece for step in answer["steps"] for piece, _ in step["pieces"]]
    assert "".join(pieces) == text + "⟨end⟩"


def test_of_many_answers_the_best_the_middle_and_the_worst_are_shown(codec):
    a = spelled(codec, "a")[0]
    answers = {str(n): [Step(0, Proposal.nothing(), [], [a] * n)] for n in range(1, 101)}
    asked = dict.fromkeys(answers, "")
    assert [len(shown(codec, asked, answers, most)) for most in range(13)] == [*range(13)]
    told = shown(codec, asked, answers, 7)
    assert [answer["rank"] for answer in told] == ["best"] * 2 + ["middle"] * 3 + ["worst"] * 2
    assert [answer["tokens"] for answer in told] == [100, 99, 51, 50, 49, 2, 1]


def test_branches_beyond_the_most_trusted_are_counted(codec):
    ids = spelled(codec, "abcdefghijk")
    trust = np.linspace(0.1, 0.5, len(ids)).tolist()
    fan = tree(ids, [-1] * len(ids), [SLOTS] * len(ids), trust)
    steps = [Step(1, fan, [], [ids[0]])]
    (answer,) = shown(codec, {"x": ""}, {"x": steps}, 1)
    (step,) = answer["steps"]
    assert [branch["tokens"][0][0] for branch in step["branches"]] == list("kjihgf")
    assert step["hidden"] == 5
