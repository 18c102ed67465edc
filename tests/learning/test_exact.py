"""With a real engine: the same tokens with and without learning, whoever shares the pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tascel
from tascel.decode.loop import complete
from tascel.draft.breaker import Breaker
from tascel.draft.price import Price
from tascel.errors import RequestError
from tascel.learning import LearnConfig
from tascel.records import Records
from tascel.store.manifest import Manifest
from tascel.types import Sampling

PRICE = Price.from_points({1: 1.0, 33: 1.6})
PROMPTS = [f"light {i % 5} in the den" for i in range(12)]
SAMPLED = Sampling(temperature=0.7, seed=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASCEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def loaded(built, toy_folder, tmp_path, cache):
    """Runners of a toy model with copies of one bundle."""

    def load(name: str, **how):
        folder = shutil.copytree(built.path, tmp_path / name)
        runner = tascel.load(folder, model=toy_folder, **how)
        # a toy's passes are too short to measure: drafts must not depend on that noise
        runner.price, runner.breaker = PRICE, Breaker(PRICE)
        return runner

    return load


def ends_soon(runner, prompt: str) -> str:
    """A text that stops the answer to a prompt in its middle."""
    return runner.generate(prompt, max_tokens=24).text[8:10]


@pytest.mark.parametrize("sampling", [None, SAMPLED])
def test_answers_are_those_without_learning(loaded, sampling):
    plain = loaded("plain")
    stop = ends_soon(plain, PROMPTS[0])
    asked = {"max_tokens": 24, "sampling": sampling, "stop": [stop]}
    with loaded("learning", learn=LearnConfig(background=False, flush=0.0)) as runner:
        for prompt in PROMPTS:
            expected = runner.run(runner.request(prompt, **asked), plain=True)
            answer = runner.generate(prompt, **asked)
            assert answer.tokens == complete(expected).tokens
            assert answer.tokens == plain.generate(prompt, **asked).tokens
        stats = runner.draft.stats()
        assert stats.learned > 0
        assert stats.accepted > 0
        assert stats.errors == 0


@pytest.mark.parametrize("sampling", [None, SAMPLED])
def test_answers_of_a_batch_are_those_without_learning(loaded, sampling):
    plain = loaded("plain")
    stop = ends_soon(plain, PROMPTS[0])
    asked = {"max_tokens": 24, "sampling": sampling, "stop": [stop]}
    expected = {p: plain.generate(p, **asked).tokens for p in set(PROMPTS)}
    with loaded("learning", learn=LearnConfig(flush=0.0)) as runner:
        requests = [runner.request(prompt, **asked) for prompt in PROMPTS]
        asked_for = {request.id: p for request, p in zip(requests, PROMPTS, strict=True)}
        events = [e for e in runner.run_many(requests, rows=4) if e.completion is not None]
        assert len(events) == len(PROMPTS)
        for event in events:
            assert event.completion.tokens == expected[asked_for[event.request.id]]
        assert runner.draft.stats().learned > 0
        assert runner.draft.stats().errors == 0


def test_what_was_learned_is_there_the_next_time(loaded, toy_folder, tmp_path):
    with loaded("b", learn=True) as runner:
        assert runner.draft.stats().learned == 0  # the warm-up is nothing to learn
        stop = ends_soon(runner, PROMPTS[0])
        answer = runner.generate(PROMPTS[0], max_tokens=24, stop=[stop])
        assert answer.finish_reason == "stop"
        stream = runner.stream(PROMPTS[1], max_tokens=24, stop=[stop])
        next(stream)
        stream.close()  # cancelled
        learned = runner.draft.stats().learned
    folder = tmp_path / "b"
    assert sum(len(read) for read in files(folder)) == learned == 1
    (record,) = files(folder)
    assert record.outputs[0].tolist() == list(answer.tokens)
    assert record.own.tolist() == [1]
    with tascel.load(folder, model=toy_folder, learn=True) as again:
        assert again.draft.stats().traces == 1


def files(folder: Path) -> list[Records]:
    manifest = Manifest.read(folder)
    return [Records.read(folder / name, manifest.vocab_size) for name in manifest.learned]


def test_learning_needs_drafts(toy_folder, built):
    for where, drafts in ((None, True), (built.path, False)):
        with pytest.raises(RequestError, match="nothing to learn for"):
            tascel.load(where, model=toy_folder, drafts=drafts, learn=True)
