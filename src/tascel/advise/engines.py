"""What answers would take, by price files and replays.

Nothing is measured and no model is loaded: what a pass costs is read from the files that `tascel
profile` keeps, and drafts that learned from most of the traces walk along the answers of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from tascel.advise.candidates import Candidate
from tascel.bench.bootstrap import interval
from tascel.bench.examples import examples, labelled
from tascel.bench.replay import BUILT_IN, compare
from tascel.builder import BuildConfig, Progress, build
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.forced import Cost, Example, Rules
from tascel.draft.price import Price, typical
from tascel.engines.hf.load import tokenizer_of
from tascel.engines.known import Kept
from tascel.engines.openvino.folder import is_export
from tascel.errors import BundleError
from tascel.plugins.llamacpp.vocabulary import check
from tascel.traces.read import BadLines
from tascel.types import SOURCES, Trace

#: Formats that models are published in; all others round their weights.
_UNROUNDED = ("float32", "float16", "bfloat16", "F32", "F16", "BF16")
#: Trust is learned on fewer traces than `tascel build` takes: six seconds less on 8,000 traces, and
#: gains come out up to 3 % lower.
_TRUST_TRACES = 1_500
#: What is told of answers that are like those learned from.
_ALIKE = ("plain_ms", "drafted_ms", "gain", "interval", "decoding_gain", "tokens_per_pass")
#: A usual draft's width: what such a pass costs beside a token's says whether drafts can pay.
WIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What one tokenizer makes of the traces: drafts, the answers to lead them along (`alike`: of
    groups that were learned from), and how many of these the chat template `refused`."""

    bundle: Bundle
    known: Sequence[Example]
    alike: Sequence[Example]
    refused: int

    def sizes(self) -> dict[str, Any]:
        """Median tokens of a prompt, and mean ones of an answer."""
        return {
            "prompt_tokens": round(median(len(example.prompt) for example in self.known)),
            "answer_tokens": mean(len(example.output) for example in self.known),
        }

    def replay(self, candidate: Candidate, kept: Kept, progress: Progress) -> dict[str, Any]:
        """What an answer takes by one price that was measured here."""
        setting = kept.setting
        rules = Rules(kept.price, self.bundle.codec.vocab_size, trees=kept.trees)
        return {
            "engine": candidate.engine,
            "model": candidate.model,
            "dtype": setting.dtype,
            "device": setting.device,
            "threads": setting.threads,
            "runtime": setting.runtime,
            "price_file": setting.file.name,
            "rounded": setting.dtype not in _UNROUNDED or "int8" in candidate.form,
            **self._estimate(rules, progress),
        }

    def typical(self, progress: Progress) -> dict[str, Any]:
        """What an answer would take on the machine that the built-in price is of."""
        rules = Rules(typical(), self.bundle.codec.vocab_size)
        return {"price_file": BUILT_IN, **self._estimate(rules, progress)}

    def _estimate(self, rules: Rules, progress: Progress) -> dict[str, Any]:
        prompt = self.sizes()["prompt_tokens"]

        def estimate(known: Sequence[Example]) -> dict[str, Any]:
            costs = compare(self.bundle, known, {}, rules, progress)["tascel"]
            return _estimate(costs, rules.price, prompt)

        alike = estimate(self.alike) if self.alike else None
        return {**estimate(self.known), "alike": alike and {name: alike[name] for name in _ALIKE}}


def _estimate(costs: Sequence[Cost], price: Price, prompt: int) -> dict[str, Any]:
    """Milliseconds an answer without drafts and with them, the prompt's reading in both: how many
    times less (`gain`, with its 95 % interval), and the same of the tokens after the first alone
    (`decoding_gain`). `accepted` are shares of these tokens by who drafted them, `wide` is what a
    pass of eight tokens takes beside one of a single token."""
    reading, step = float(price.curve(prompt, 0)[0]), float(price.plain())
    plain = [reading + step * cost.tokens for cost in costs]
    drafted = [reading + cost.ms for cost in costs]
    tokens, writing = sum(cost.tokens for cost in costs), sum(cost.ms for cost in costs)
    accepted = sum((cost.accepted for cost in costs), Counter[str]())
    return {
        "step_ms": step,
        "reading_ms": reading,
        "plain_ms": mean(plain),
        "drafted_ms": mean(drafted),
        "gain": sum(plain) / sum(drafted),
        "interval": [*interval(plain, drafted)],
        "decoding_gain": step * tokens / writing if writing else 1.0,
        "tokens_per_pass": tokens / max(1, sum(cost.steps for cost in costs)),
        "accepted": {s: accepted[s] / tokens for s in SOURCES if accepted[s]},
        "wide": float(price.curve(WIDE, 0)[0]) / step,
    }


class Tokenizers:
    """The traces as each of several tokenizers reads them, learned once for each."""

    def __init__(
        self,
        learned: Sequence[Trace],
        held: Sequence[Trace],
        alike: Sequence[Trace],
        work: Path,
        adapter: str | Path | None,
        progress: Progress,
    ) -> None:
        self._learned, self._held, self._alike, self._work = learned, held, alike, work
        self._adapter, self._progress = adapter, progress
        self._made: dict[str, Learned] = {}
        self._of: dict[str, Learned] = {}

    def learn(self, model: str) -> None:
        """Learn for a model's tokenizer, unless another one had the same."""
        place = model if is_export(model) else tokenizer_of(model, self._adapter)
        codec = Codec.from_pretrained(place)
        if codec.fingerprint not in self._made:
            refused = BadLines()
            known = examples(codec, self._held, refused.add)
            alike = [example for _, example in labelled(codec, self._alike, refused.add)]
            out = self._work / str(len(self._made))
            config = BuildConfig(trust_traces=_TRUST_TRACES)
            build(iter(self._learned), place, out, config=config, progress=self._progress)
            self._made[codec.fingerprint] = Learned(
                Bundle.open(out, codec), known, alike, refused.count
            )
        self._of[model] = self._made[codec.fingerprint]

    def of(self, model: str) -> Learned:
        """What was learned for a model, or for one whose vocabulary a GGUF has.

        Raises:
            BundleError: a GGUF has the vocabulary of none.
        """
        if model not in self._of:
            self._of[model] = self._like(model)
        return self._of[model]

    def _like(self, gguf: str) -> Learned:
        *others, last = self._made.values()
        for learned in others:
            try:
                check(learned.bundle, gguf)
            except BundleError:
                continue
            return learned
        check(last.bundle, gguf)
        return last
