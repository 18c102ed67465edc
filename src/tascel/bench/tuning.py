"""The best settings of each peer on held-out tenths of a task's training traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import geometric_mean

import numpy as np

from tascel.bench.examples import labelled
from tascel.bench.peers import GRIDS, Peers, Settings
from tascel.bundle import Bundle
from tascel.decode.forced import Entrant, Example, Rules, follow, speedup
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.errors import TascelError, TraceError
from tascel.learned import Learned
from tascel.traces.folds import folds, held_out_ways
from tascel.types import Trace

#: One part in so many is held out, whole groups of similar traces together.
PARTS = 10
#: Of that, so many examples are tried at most.
MOST = 100

#: Peers that have learned nine tenths, and examples of the other.
Trial = tuple[Peers, Sequence[Example]]


def tune(
    names: Sequence[str],
    bundle: Bundle,
    traces: Iterable[Trace],
    rules: Rules,
    on_bad: Callable[[TascelError], None] | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, Settings]:
    """Try every setting in `GRIDS` of every peer in `names`; the highest estimated speed-up wins.

    Only traces that say they are for training are looked at. The peers learn from nine tenths of
    them and draft the rest, once in each of `held_out_ways`; the bundle lends its tokenizer only.

    Raises:
        TraceError: too few such traces.
    """
    train = [trace for trace in traces if trace.split == "train"]
    pairs = list(labelled(bundle.codec, train, on_bad))
    trials: list[Trial] = []
    for way in held_out_ways([trace for trace, _ in pairs]):
        held = folds(way, PARTS) == 0
        rest = [e.output for (_, e), out in zip(pairs, held, strict=True) if not out]
        asked = [pairs[at][1] for at in sample(held)]
        if not rest or not any(len(e.output[: rules.max_tokens]) > 1 for e in asked):
            raise TraceError(
                f"tuning needs traces of split 'train' with answers of more than one token, and of "
                f"{len(pairs)} too few are here",
                "Give a file that holds the training traces too, or leave out --tune",
            )
        known = Knowledge.only(Corpus.of(rest), bundle.manifest.vocab_size)
        learned = replace(
            bundle, learned=Learned(known, bundle.learned.trust), tasks=(), classifier=None,
            given=bundle.codec,
        )  # fmt: skip
        trials.append((Peers(learned, chain=not rules.trees), asked))
    return {
        name: best(name, trials, rules, lambda n, of, name=name: progress(f"tuning {name}", n, of))
        for name in names
        if name in GRIDS
    }


def sample(held: np.typing.NDArray[np.bool_]) -> list[int]:
    """At most `MOST` of the held-out places, drawn alike everywhere."""
    return np.random.default_rng(0).permutation(np.flatnonzero(held))[:MOST].tolist()


def best(
    name: str,
    trials: Sequence[Trial],
    rules: Rules,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Settings:
    """The settings of the peer's grid with the highest mean speed-up (geometric) over `trials`;
    the first of equals."""
    scores: list[float] = []
    for settings in GRIDS[name]:
        speedups: list[float] = []
        for peers, examples in trials:
            walked = follow({name: Entrant(peers.make(name, settings))}, examples, rules)
            speedups.append(speedup(walked[name], rules))
        scores.append(geometric_mean(speedups))
        progress(len(scores), len(GRIDS[name]))
    return GRIDS[name][int(np.argmax(scores))]
