"""Would a bridge pay? Both models' passes measured here, before anyone trains.

What an answer takes is worked out of measured passes: reading, the prompt, and a step for each
token; with drafts the tokens a pass of a replay on held-out answers. Nobody knows here how well a
bridged model would answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from tascel.adapt.train.config import Progress
from tascel.adapt.train.saving import public_name
from tascel.bench.examples import examples
from tascel.bench.held_out import held_out
from tascel.bench.replay import compare
from tascel.builder import build
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.forced import Rules
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.engines.hf.load import tokenizer_of
from tascel.engines.profile import ROUNDS, measure
from tascel.loading import load
from tascel.runner import Runner
from tascel.types import Ids, Trace

#: Each pass is measured so often; the least counts, since what else runs only ever adds.
_TIMES = 5
#: Less than this is no gain worth a training.
_WORTH = 1.1


@dataclass(frozen=True, slots=True)
class Model:
    """What a model's passes take here, in milliseconds, and what answers ask of it.

    Attributes:
        prompt: median tokens of a prompt; `prefill` reads so many and brings the first token.
        tokens: mean tokens of an answer after its first.
        step: a pass of one token.
        drafted: mean of all passes after the first, and of drafting them, with our drafts.
        per_pass: tokens that such a pass brings.
    """

    prompt: int
    tokens: float
    prefill: float
    step: float
    drafted: float
    per_pass: float

    @property
    def plain(self) -> float:
        """Mean of all passes after the first, without drafts."""
        return self.tokens * self.step


def plan(
    traces: Iterable[Trace],
    large: str | Path,
    small: str | Path,
    *,
    adapter: str | Path | None = None,
    layer: int | None = None,
    dtype: str = "auto",
    limit: int = 24,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """What answers would take by the large model, by the small one, and bridged; each with our
    drafts and without.

    Args:
        traces: the task's past exchanges. Answers of the split `valid` are replayed, or a fold of
            those to learn from where there is none; drafts learn from the rest. The split `test`
            is passed over.
        large: reads; Hugging Face id or folder. Of an encoder only the reading is measured.
        small: writes; it need not be trained for that.
        adapter: a PEFT folder on top of the large model.
        layer: after how many of its layers the large model would be read; None: two thirds.
        dtype: of both models.
        limit: replay so many answers at most.

    Returns:
        The stable output format, see `report`.

    Raises:
        ModelError: a model cannot be loaded.
        TraceError: there is nothing to replay.
    """
    learned, held = held_out(traces, limit)
    writer = Codec.from_pretrained(small)
    prompt = _typical([writer.prompt(t.messages, t.tools) for t in held])
    progress("measuring the reading", 0, None)
    reading, read_layers = _reading(large, adapter, layer, dtype, prompt, writer)
    with TemporaryDirectory() as work:
        makers = _Bundles(learned, Path(work), progress)
        whole = _measured(large, adapter, dtype, held, makers, progress) if read_layers else None
        one = _measured(small, None, dtype, held, makers, progress)
    names = public_name(large), public_name(small)
    return report(*names, whole, one, reading, read_layers, len(held), len(learned))


def report(
    large: str,
    small: str,
    whole: Model | None,
    one: Model,
    reading: float,
    layer: int | None,
    replayed: int,
    learned: int,
) -> dict[str, Any]:
    """The stable output format of `plan`; all times in milliseconds.

    `answers` are by model and by whether we draft; `projected` says that the model is not there
    yet. `break_even_tokens` is the answer length from which on a bridged model is done before the
    large one, `paid_back_tokens` that whose saved steps make up for the large model's whole
    prefill: prefill / (large step - small step), as Bergner et al. count. None is never.
    """
    rows = [
        _answer("small alone", one, 0.0, drafts=False),
        _answer("small alone + drafts", one, 0.0, drafts=True),
        _answer("bridged", one, reading, drafts=False, projected=True),
        _answer("bridged + drafts", one, reading, drafts=True, projected=True),
    ]
    even = paid = None
    if whole is not None:
        rows = [
            _answer("large", whole, 0.0, drafts=False),
            _answer("large + drafts", whole, 0.0, drafts=True),
            *rows,
        ]
        saved = whole.step - one.step
        if saved > 0:
            even = max(0.0, (reading + one.prefill - whole.prefill) / saved)
            paid = whole.prefill / saved
    return {
        "large": {"name": large, "layer": layer, "reading": reading}
        | (asdict(whole) if whole else {}),
        "small": {"name": small, **asdict(one)},
        "replayed": replayed,
        "learned": learned,
        "break_even_tokens": even,
        "paid_back_tokens": paid,
        "answers": rows,
        "verdict": verdict({row["name"]: row["ms"] for row in rows}),
    }


def verdict(ms: dict[str, float]) -> str:
    """What to do, in plain words, from milliseconds an answer."""
    bridged = min(ms["bridged"], ms["bridged + drafts"])
    if "large" not in ms:
        over = bridged / min(ms["small alone"], ms["small alone + drafts"])
        return (
            "The large model only encodes: it has no answers of its own to compare with. Reading "
            f"makes the small model's answers take {over:.2f} times as long."
        )
    drafted, gain = min(ms["large"], ms["large + drafts"]), ms["large"] / bridged
    over = drafted / bridged
    if over >= _WORTH:
        return (
            f"Worth a try: bridged, an answer would take {bridged:,.0f} ms, {over:.2f} times less "
            f"than the large model with our drafts and {gain:.2f} times less than without. Train, "
            "then see whether it answers well enough."
        )
    words = "about as long as" if over > 1 / _WORTH else "longer than"
    return (
        f"Not worth training: bridged, an answer would take {bridged:,.0f} ms, {words} the large "
        f"model with our drafts ({drafted:,.0f} ms), whose answers are its own. Draft for that one "
        "instead."
    )


def _answer(
    name: str, model: Model, reading: float, *, drafts: bool, projected: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "ms": reading + model.prefill + (model.drafted if drafts else model.plain),
        "before_first_token": reading + model.prefill,
        "tokens_per_pass": model.per_pass if drafts else 1.0,
        "projected": projected,
    }


class _Bundles:
    """A bundle for every tokenizer that asks, each learned once."""

    def __init__(self, learned: Sequence[Trace], work: Path, progress: Progress) -> None:
        self._learned, self._work, self._progress = learned, work, progress
        self._made: dict[str, Path] = {}

    def of(self, codec: Codec, model: str | Path, adapter: str | Path | None) -> Path:
        """The bundle for a model's tokenizer."""
        if codec.fingerprint not in self._made:
            out = self._work / str(len(self._made))
            build(self._learned, model, out, adapter=adapter, progress=self._progress)
            self._made[codec.fingerprint] = out
        return self._made[codec.fingerprint]


def _reading(
    large: str | Path,
    adapter: str | Path | None,
    layer: int | None,
    dtype: str,
    prompt: Ids,
    writer: Codec,
) -> tuple[float, int | None]:
    """What reading a prompt takes, and after how many layers it is read, None for an encoder."""
    from tascel.engines.hf.bridge.reader import Reader

    reader = Reader.load(large, layer, adapter, dtype)
    # A GPU is done only when numbers are asked of it.
    return _least(lambda: reader.read([prompt], writer)[0].states.cpu()), reader.layer


def _measured(
    model: str | Path,
    adapter: str | Path | None,
    dtype: str,
    held: Sequence[Trace],
    makers: _Bundles,
    progress: Progress,
) -> Model:
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    known = examples(codec, held)
    bundle = makers.of(codec, model, adapter)
    name = public_name(model)
    runner = load(None, model=model, adapter=adapter, dtype=dtype)
    prompt = _typical([example.prompt for example in known])
    # Not a kept price: all that is compared shall be measured in one run.
    points = measure(runner.engine, 1, lambda done: progress(f"measuring {name}", done, ROUNDS))
    price = Price.from_points(points)
    rules = Rules(price, codec.vocab_size, trees=runner.engine.trees)
    costs = compare(Bundle.open(bundle, codec), known, {}, rules, progress)["tascel"]
    return Model(
        prompt=len(prompt),
        tokens=mean(cost.tokens for cost in costs),
        prefill=_least(lambda: _prefill(runner, prompt)),
        step=float(price.plain()),
        drafted=mean(cost.ms for cost in costs),
        per_pass=sum(cost.tokens for cost in costs) / max(1, sum(cost.steps for cost in costs)),
    )


def _typical(prompts: Sequence[Ids]) -> Ids:
    """The prompt whose length is nearest to the median one."""
    middle = median(map(len, prompts))
    return min(prompts, key=lambda prompt: abs(len(prompt) - middle))


def _prefill(runner: Runner, prompt: Ids) -> None:
    engine = runner.engine
    engine.forget()  # or the prompt would be there already
    row, shared = engine.open(prompt, len(prompt) + 1)
    (verdict,) = engine.check([row], [prompt[shared:]], [Proposal.nothing()])
    verdict.argmax(-1)
    engine.keep([row], [[]])
    engine.close(row)


def _least(run: Callable[[], object]) -> float:
    """Milliseconds of the quickest run; the first only warms up."""
    took: list[float] = []
    for _ in range(1 + _TIMES):
        started = perf_counter()
        run()
        took.append(1000 * (perf_counter() - started))
    return min(took[1:])
