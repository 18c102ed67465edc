"""Numbers of `engines.py`: of each contender, and beside the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from scores import exact

from tascel.bench.bootstrap import interval
from tascel.codec import Codec
from tascel.types import Trace

#: Everyone is compared with these two, on the prompts that both answered.
OVER = ("transformers", "tascel")
#: Whose answers the others' are compared with: greedy, as stock transformers gives them.
REFERENCE = "transformers"

Answers = Mapping[str, Mapping[int, Mapping[str, Any]]]


def summary(
    name: str, answers: Answers, used: Mapping[str, Any], traces: Sequence[Trace], codec: Codec
) -> dict[str, Any]:
    """One row of the report. The closing id counts for nobody."""
    own = answers[name]
    said = {at: words(line["ids"], codec) for at, line in own.items()}
    seconds = [line["seconds"] for line in own.values()]
    tokens = sum(map(len, said.values()))
    right = [exact(codec.decode(ids), traces[at].answer["content"]) for at, ids in said.items()]
    known = {at: words(line["ids"], codec) for at, line in answers.get(REFERENCE, {}).items()}
    both = said.keys() & known.keys()
    return {
        "name": name,
        "prompts": len(own),
        "tokens": tokens,
        "tokens_per_second": tokens / sum(seconds),
        "ms_mean": 1000 * mean(seconds),
        "ms_median": 1000 * median(seconds),
        "faster_than": {
            other: faster(answers[other], own) for other in OVER if other in answers
        },
        "exact": mean(right),
        "same_as_reference": mean(said[at] == known[at] for at in both) if both else None,
        "load_seconds": used.get("loaded"),
        **{f"{kind}_bytes": used.get(kind) for kind in ("rss", "pss", "anonymous")},
    }  # fmt: skip


def words(ids: Sequence[int], codec: Codec) -> list[int]:
    """An answer without its closing id."""
    return list(ids[:-1]) if ids and ids[-1] in codec.eos_ids else list(ids)


def faster(
    base: Mapping[int, Mapping[str, Any]], own: Mapping[int, Mapping[str, Any]]
) -> list[float] | None:
    """How many times as fast as `base` on the prompts both answered, with its 95 % interval."""
    both = sorted(base.keys() & own.keys())
    if not both:
        return None
    over = [base[at]["seconds"] for at in both]
    under = [own[at]["seconds"] for at in both]
    return [sum(over) / sum(under), *interval(over, under)]


def show(report: Mapping[str, Any]) -> None:
    """The report as text."""
    for task, found in report["tasks"].items():
        print(f"{task}: {found['prompts']} prompts of {found['prompt_tokens']:.0f} tokens")
        for row in sorted(found["rows"], key=lambda row: row["ms_mean"]):
            over = [
                "{:5.2f}x {} ({:.2f}-{:.2f})".format(value[0], other, *value[1:])
                for other, value in row["faster_than"].items()
                if value
            ]
            rss, pss = ((row[f"{kind}_bytes"] or 0) / 1e6 for kind in ("rss", "pss"))
            print(
                f"  {row['name']:20} {row['tokens_per_second']:6.1f} tok/s "
                f"{row['ms_mean']:7.1f} ms,"
                f" median {row['ms_median']:7.1f} {' '.join(over)} exact {row['exact']:.0%} same"
                f" {row['same_as_reference'] or 0:.0%} {rss:.0f} MB (pss {pss:.0f}), load"
                f" {row['load_seconds'] or 0:.1f} s {row['settings']}"
            )
