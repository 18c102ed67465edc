"""A bundle of lamps, and learners into copies of it, with a clock that moves when told."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.draft.base import Attentive
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.learning import LearnConfig, Learner, LearningDraft
from tascel.types import Request, Trace

PRICE = Price.from_points({1: 1.0, 33: 1.6})


@dataclass
class Clock:
    """Seconds since 1970."""

    now: float = 1.8e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def exchange(prompt: str, output: str) -> Trace:
    return Trace(({"role": "user", "content": prompt},), {"role": "assistant", "content": output})


@pytest.fixture(scope="session")
def built(toy_folder, tmp_path_factory) -> Bundle:
    """Thirty exchanges, whose answers repeat."""
    traces = [exchange(f"light {i}", f"the lamp {i % 7}") for i in range(30)]
    return build(traces, toy_folder, tmp_path_factory.mktemp("built") / "b")


@pytest.fixture
def path(built, tmp_path) -> Path:
    """A bundle to learn into."""
    return Path(shutil.copytree(built.path, tmp_path / "b"))


@pytest.fixture
def learning(path, clock) -> Iterator[Callable[..., LearningDraft]]:
    """Makes drafts that learn, started."""
    made: list[LearningDraft] = []

    def make(folder: Path = path, start: bool = True, **how: Any) -> LearningDraft:
        draft: dict[str, Any] = how.pop("draft", {})
        config = DraftConfig(**draft)
        learn = LearnConfig(**{"background": False, "flush": 0.0} | how)
        learner = Learner(Bundle.open(folder), lambda b: b.draft(config), config, learn, clock)
        made.append(LearningDraft(learner, config))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for draft in made:
        draft.close()


@dataclass
class Talk:
    """Prompts and outputs as ids, and answers that are written as known ones."""

    bundle: Bundle

    def prompt(self, text: str) -> np.ndarray:
        return self.bundle.codec.prompt(text)

    def output(self, text: str) -> list[int]:
        return [*self.bundle.codec.output(text).tolist(), self.bundle.codec.end_id]

    def answer(self, draft, prompt: str, output: str, reason: str | None = "stop") -> int:
        """Let a draft along an answer as the loop would; how many passes that took."""
        from tascel.decode.walk import follow

        rest, passes = self.output(output), 0
        session = draft.open(Request("r", self.prompt(prompt)))
        while rest:
            offered = session.propose(len(rest), PRICE)
            step = follow(offered, rest)
            written = [token for token, _ in step]
            session.accept(written, offered, sum(node >= 0 for _, node in step))
            rest, passes = rest[len(step) :], passes + 1
        if reason is not None and isinstance(session, Attentive):
            session.finish(reason)
        session.close()
        return passes


@pytest.fixture
def talk(built) -> Talk:
    return Talk(built)


@pytest.fixture
def talk_of() -> type[Talk]:
    return Talk
