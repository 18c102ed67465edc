"""transformers' logits processors in our loop: stock `generate`'s answers, whatever is drafted."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    ExponentialDecayLengthPenalty,
    ForcedEOSTokenLogitsProcessor,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SynthIDTextWatermarkLogitsProcessor,
    TopKLogitsWarper,
    UnbatchedClassifierFreeGuidanceLogitsProcessor,
    WatermarkLogitsProcessor,
)

from tascel.decode.loop import complete, decode
from tascel.draft.price import Price
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.processors import HfProcessors, processors
from tascel.errors import RequestError
from tascel.types import Completion, Request, Sampling

PROMPT = np.array([72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 33], np.int32)
EOS, LENGTH = 271, 40


class Fading(LogitsProcessor):
    """Likes an id the less, the more often it was written; wants one call a token."""

    runs: list[Fading]

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.calls = 0
        self.dislike: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        ids = input_ids[0].tolist()
        if self.calls == 0:
            self.dislike = torch.zeros_like(scores)
            Fading.runs.append(self)
        else:
            assert ids[:-1] == self.seen
            self.dislike[0, ids[-1]] += 1.5 * self.calls**0.5
        self.seen, self.calls = ids, self.calls + 1
        return scores.sub_(self.dislike)


def some(name: str, model: Any) -> list[LogitsProcessor]:
    """New processors of a kind, as a user would hand them to `generate`."""
    eos = torch.tensor([EOS])
    return {
        "sequence bias": lambda: [SequenceBiasLogitsProcessor([[[5], 9.0], [[7, 9], -8.0]])],
        "bad words": lambda: [NoBadWordsLogitsProcessor([[n] for n in range(0, 200, 3)])],
        "no repeats": lambda: [NoRepeatNGramLogitsProcessor(1)],
        "at least": lambda: [
            MinLengthLogitsProcessor(20, eos),
            MinNewTokensLengthLogitsProcessor(len(PROMPT), 30, eos),
        ],
        "forced end": lambda: [ForcedEOSTokenLogitsProcessor(30, EOS)],
        "soon over": lambda: [ExponentialDecayLengthPenalty((5, 1.4), eos, len(PROMPT))],
        "repetition": lambda: [RepetitionPenaltyLogitsProcessor(1.8)],
        "suppressed": lambda: [
            SuppressTokensAtBeginLogitsProcessor([*range(140, 260)], len(PROMPT))
        ],
        "watermark": lambda: [WatermarkLogitsProcessor(272, "cpu", bias=6.0)],
        "SynthID": lambda: [
            SynthIDTextWatermarkLogitsProcessor(3, [3, 1, 4, 1, 5, 9, 2, 6], 256, 0, 16, "cpu")
        ],
        "guidance": lambda: [UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, model)],
        "own": lambda: [Fading()],
        "several": lambda: [
            TopKLogitsWarper(20),
            Fading(),
            NoRepeatNGramLogitsProcessor(2),
            UnbatchedClassifierFreeGuidanceLogitsProcessor(0.7, model),
        ],
    }[name]()


KINDS = (
    "sequence bias",
    "bad words",
    "no repeats",
    "at least",
    "forced end",
    "soon over",
    "repetition",
    "suppressed",
    "watermark",
    "SynthID",
    "guidance",
    "own",
    "several",
)


@pytest.fixture(scope="module")
def model(toy: Any) -> Any:
    return toy("Qwen3")


@pytest.fixture(scope="module")
def engine(model: Any) -> HfEngine:
    return HfEngine(model)


@pytest.fixture(autouse=True)
def _runs() -> None:
    Fading.runs = []


def stock(model: Any, given: list[LogitsProcessor]) -> tuple[int, ...]:
    ids = torch.tensor(PROMPT[None].astype(np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=LENGTH,
            do_sample=False,
            logits_processor=LogitsProcessorList(given),
        )
    return tuple(out[0, len(PROMPT) :].tolist())


def ours(engine: HfEngine, stream: Any, given: Any, draft: Any = None, **facts: Any) -> Completion:
    request = Request("r", PROMPT, max_tokens=LENGTH, processors=processors(given), **facts)
    return complete(decode(engine, draft, request, Price.free(), stream()))


@pytest.mark.parametrize("kind", KINDS)
def test_drafted_answers_are_those_of_stock_generate(
    model: Any, engine: HfEngine, oracle_draft: Any, byte_stream: Any, kind: str
) -> None:
    truth = stock(model, some(kind, model))
    given = some(kind, model)
    assert ours(engine, byte_stream, given).tokens == truth
    accepted = 0
    for seed, (tree, garbage) in enumerate([(True, False), (True, True), (False, True)] * 2):
        draft = oracle_draft(
            truth, seed, skill=0.85, width=10, tree=tree, garbage=garbage, vocab_size=270
        )
        drafted = ours(engine, byte_stream, given, draft)
        assert drafted.tokens == truth
        accepted += sum(drafted.stats.accepted.values())
    assert accepted > len(truth)


def test_they_change_these_answers(model: Any) -> None:
    """The control: no kind above leaves the plain answer as it is."""
    plain = stock(model, [])
    assert len(plain) == LENGTH
    assert [kind for kind in KINDS if stock(model, some(kind, model)) == plain] == ["at least"]


def test_an_end_comes_no_sooner_than_asked(
    model: Any, engine: HfEngine, oracle_draft: Any, byte_stream: Any
) -> None:
    early = [SequenceBiasLogitsProcessor([[[EOS], 60.0]])]
    assert stock(model, early) == (EOS,)
    given = [*early, *some("at least", model)]
    truth = stock(model, given)
    assert len(truth) == 31
    assert ours(engine, byte_stream, given, oracle_draft(truth, vocab_size=270)).tokens == truth


def test_a_state_is_kept_along_the_answer_and_starts_afresh(
    model: Any, engine: HfEngine, oracle_draft: Any, byte_stream: Any
) -> None:
    mine = Fading()
    truth = ours(engine, byte_stream, mine).tokens
    draft = oracle_draft(truth, skill=0.7, width=12, vocab_size=270)
    drafted = ours(engine, byte_stream, mine, draft)
    assert drafted.tokens == truth
    assert drafted.stats.rejects > 2
    assert drafted.stats.steps < len(truth)
    one, other = Fading.runs
    assert one is not other
    assert mine.calls == 0
    for run in (one, other):
        assert run.calls == len(truth)
        assert run.seen == [*PROMPT.tolist(), *truth[:-1]]


def test_sampling_draws_from_what_they_leave(
    model: Any, engine: HfEngine, oracle_draft: Any, byte_stream: Any
) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    given = [TopKLogitsWarper(3), Fading()]
    plain = ours(engine, byte_stream, given, sampling=sampling)
    draft = oracle_draft(plain.tokens, vocab_size=270, garbage=True)
    assert ours(engine, byte_stream, given, draft, sampling=sampling).tokens == plain.tokens
    assert plain.tokens != ours(engine, byte_stream, given).tokens


def test_models_and_tokenizers_are_not_copied(model: Any, tokenizer: Any) -> None:
    guided = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, model)
    guided.tokenizer = tokenizer
    (copied,) = processors(guided)()[0]._processors
    assert copied is not guided
    assert copied.model is model
    assert copied.tokenizer is tokenizer
    assert copied.unconditional_context is not guided.unconditional_context


def test_two_that_share_something_still_do(model: Any) -> None:
    one, other = Fading(), Fading()
    one.seen = other.seen
    copies = processors([one, other])()[0]._processors
    assert copies[0].seen is copies[1].seen is not one.seen


def test_what_cannot_be_copied_is_refused_by_name(fake_engine: Any, byte_stream: Any) -> None:
    class Locked(Fading):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    engine = fake_engine(vocab_size=272)
    with pytest.raises(RequestError, match="Locked cannot be copied"):
        ours(engine, byte_stream, Locked())
    assert not engine.open_rows


def test_a_row_of_a_batch_sees_its_own_place(model: Any) -> None:
    """Processors made for a whole batch answer for one row as they would for all."""
    ids = torch.tensor([[0, 0, 5, 6, 7], [1, 2, 3, 4, 5], [0, 9, 9, 9, 9]])
    scores = torch.randn(3, 272, generator=torch.Generator().manual_seed(0))
    padding = [2, 0, 1]
    given = [
        RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=torch.tensor(padding)),
        TopKLogitsWarper(50),
        NoRepeatNGramLogitsProcessor(2),
    ]
    whole = LogitsProcessorList(given)(ids, scores.clone())
    for row, pad in enumerate(padding):
        place = HfProcessors(given, padding=ids[row, :pad].tolist(), row=row, rows=3)
        mine = place(ids[row, pad:].numpy().astype(np.int32), scores[row].numpy().copy())
        np.testing.assert_array_equal(mine, whole[row].numpy())
        assert mine.dtype == np.float32
