"""What would drafts have saved on a task's known answers? An estimate in seconds, with no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tascel.bench import peers as rivals
from tascel.bench.answers import completed
from tascel.bench.bootstrap import interval
from tascel.bench.examples import examples
from tascel.bench.prompts import prompts
from tascel.bench.shown import shown
from tascel.bench.steps import Recorder, by_task, drafting
from tascel.bench.tuning import tune as choose
from tascel.builder import Progress, silent
from tascel.bundle import Bundle
from tascel.decode.forced import Cost, Entrant, Example, Rules, follow, speedup
from tascel.decode.watch import Watch
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import typical
from tascel.engines.profile import read_price
from tascel.errors import TascelError, TraceError
from tascel.traces.read import BadLines, read_traces
from tascel.types import SOURCES, Trace

#: What stands in results where no price file is given.
BUILT_IN = "built in: SmolLM2-135M in bfloat16 on 2 CPU cores"


def replay(
    bundle: str | Path | Bundle,
    traces: str | Path,
    against: Sequence[str] = ("prompt-lookup", "tasc-paper", "tasc-tuned"),
    *,
    split: str = "test",
    limit: int | None = None,
    max_tokens: int = 512,
    price: str | Path | None = None,
    completions: str | Path | None = None,
    chain: bool = False,
    tune: bool = False,
    show: int = 0,
    on_bad: Callable[[TascelError], None] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Lead the bundle's draft and the peers along the answers of `traces`: what would they save?

    Args:
        bundle: a bundle or its folder. Its own tokenizer is used.
        traces: files that `read_traces` takes.
        against: peers and variants of ours, see `DEFAULTS` and `VARIANTS` in `bench.peers`.
        split: use traces of this split, and those that name none.
        limit: use only the first so many.
        max_tokens: longer answers are cut there.
        price: a file that `tascel profile` wrote, or the name of a kept one; None takes
            `draft.price.typical`.
        completions: a file that `tascel generate -o` or `bench --answers` wrote: other answers to
            these prompts.
        chain: nobody drafts trees.
        tune: choose the peers' settings on a held-out tenth of the split "train" of `traces`.
        show: add so many answers as text under "answers", see `bench.shown`.
        on_bad: hears what is malformed and left out; None stops at it.

    Returns:
        The stable output format, see `report`.

    Raises:
        BundleError, TraceError: something cannot be read, or nothing is left to replay.
        RequestError: a peer's name is unknown, or the chat template refuses a prompt.
        TascelError: no price in the file, or a peer's package is not installed.
    """
    names = [*dict.fromkeys(name for name in against if name != "tascel")]
    rivals.check(names)
    settings = {**rivals.DEFAULTS, **rivals.VARIANTS}
    settings = {name: settings[name] for name in names}
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    codec = opened.codec
    cost = typical() if price is None else read_price(Path(price))
    rules = Rules(cost, codec.vocab_size, trees=not chain, max_tokens=max_tokens)
    if completions is None:
        rows = prompts(str(traces), split, limit, on_bad, need_answer=True)
        known = examples(codec, _heard(rows, progress), on_bad)
    else:
        rows = prompts(str(traces), split, on_bad=on_bad)
        known = completed(codec, _heard(rows, progress), completions, limit, on_bad)
    if tune:
        again = read_traces(traces, skip_bad=on_bad is not None)
        quiet = None if on_bad is None else BadLines().add  # it has been heard of already
        settings |= choose(names, opened, again, rules, quiet, progress)
    recorder = Recorder()
    costs = compare(opened, known, settings, rules, progress, recorder)
    file = BUILT_IN if price is None else Path(price).name
    content = report(costs, rules, file, settings, recorder)
    if show:
        asked = {str(at): example.asked for at, example in enumerate(known)}
        content["answers"] = shown(codec, asked, recorder.answers, show)
    return content


def compare(
    bundle: Bundle,
    known: Sequence[Example],
    settings: Mapping[str, rivals.Settings],
    rules: Rules,
    progress: Progress = silent,
    watch: Watch | None = None,
) -> dict[str, list[Cost]]:
    """What each peer or variant in `settings` and then "tascel" make of the `known` answers; a
    `watch` hears the steps of the last."""
    ready = entrants(bundle, settings, rules, progress, watch)
    return follow(ready, known, rules, lambda n, of: progress("replaying", n, of))


def entrants(
    bundle: Bundle,
    settings: Mapping[str, rivals.Settings],
    rules: Rules,
    progress: Progress = silent,
    watch: Watch | None = None,
) -> dict[str, Entrant]:
    """Each peer or variant in `settings`, and then "tascel", whose steps a `watch` hears; a breaker
    may rest all of ours."""
    peers = rivals.Peers(bundle, chain=not rules.trees)
    made: dict[str, Entrant] = {}
    for done, (name, chosen) in enumerate(settings.items(), start=1):
        progress("getting ready", done, len(settings))
        made[name] = Entrant(peers.make(name, chosen), guarded=name in rivals.VARIANTS)
    config = DraftConfig(trees=rules.trees, saved=rules.saved)
    made["tascel"] = Entrant(bundle.draft(config), guarded=True, watch=watch)
    return made


def _heard(traces: Iterable[Trace], progress: Progress) -> Iterator[Trace]:
    for done, trace in enumerate(traces, start=1):
        progress("reading answers", done, None)
        yield trace


def report(
    costs: Mapping[str, Sequence[Cost]],
    rules: Rules,
    price_file: str,
    settings: Mapping[str, Mapping[str, Any]],
    recorder: Recorder | None = None,
) -> dict[str, Any]:
    """The stable output format of `replay`. `tokens` are those after each answer's first;
    `price_ms` a pass of 1, 2, … tokens; `tasks` are by whose draft served, where there are several;
    what a `recorder` heard of ours becomes `drafting`.

    Raises:
        TraceError: there is no such token.
    """
    ours = costs["tascel"]
    tokens = sum(c.tokens for c in ours)
    if not tokens:
        raise TraceError("no answer is longer than one token", "There is nothing to draft")
    rows = [_row(name, own, ours, rules) for name, own in costs.items()]
    return {
        "examples": len(ours),
        "tokens": tokens,
        "price_file": price_file,
        "step_ms": round(float(rules.price.plain()), 4),
        "price_ms": [round(float(ms), 4) for ms in rules.price.curve(1, 63)],
        "trees": rules.trees,
        "drafts": [row | {"settings": dict(settings.get(row["name"], {}))} for row in rows],
        "tasks": [*_tasks(costs, rules)],
        "drafting": recorder and drafting(recorder.answers.values(), rules.price),
    }


def _tasks(costs: Mapping[str, Sequence[Cost]], rules: Rules) -> Iterator[dict[str, Any]]:
    """Everybody's row for each task; one without a token to draft is left out."""
    for task, places in by_task([cost.task for cost in costs["tascel"]]).items():
        parts = {name: [own[at] for at in places] for name, own in costs.items()}
        if any(cost.tokens for cost in parts["tascel"]):
            rows = [_row(name, own, parts["tascel"], rules) for name, own in parts.items()]
            yield {"task": task, "examples": len(places), "drafts": rows}


def _row(name: str, own: Sequence[Cost], ours: Sequence[Cost], rules: Rules) -> dict[str, Any]:
    steps, tokens = sum(c.steps for c in own), sum(c.tokens for c in own)
    accepted = sum((c.accepted for c in own), Counter[str]())
    over, under = [c.ms for c in own], [c.ms for c in ours]
    plain = [float(rules.price.plain()) * c.tokens for c in own]
    return {
        "name": name,
        "tokens_per_step": tokens / steps,
        "drafted_per_step": sum(c.offered for c in own) / steps,
        "microseconds_per_step": 1000 * sum(c.draft_ms for c in own) / steps,
        "speedup_estimate": speedup(own, rules),
        "interval": [*interval(plain, over)],
        "accepted_by_source": {s: accepted[s] / tokens for s in SOURCES if accepted[s]},
        "rejects": sum(c.rejects for c in own),
        "tascel_over_this": sum(over) / sum(under),
        "interval_against_tascel": [*interval(over, under)],
    }
