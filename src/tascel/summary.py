"""SUMMARY.md: what a bundle holds, for people. Quotes only what many traces share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tascel.codec import Codec
from tascel.store.manifest import TaskEntry
from tascel.types import Ids

#: A quoted n-gram stands in at least so many distinct traces, so no single trace can be read off.
LEAST_TRACES = 5
LONGEST, SHOWN = 12, 30
#: Outputs looked at: enough for frequencies.
SAMPLE = 5_000


def summarise(
    codec: Codec,
    quotable: Sequence[Ids],
    counts: Mapping[str, int],
    model: str,
    tasks: Sequence[TaskEntry] = (),
) -> str:
    """The page's Markdown. `quotable` are the outputs of distinct traces; without them no word of
    the traces is quoted."""
    lines = [
        "# What this bundle has learned",
        "",
        f"Built for `{model.rstrip('/').rsplit('/', 1)[-1]}`; drafts for any model with the same "
        "tokenizer, though best for the one whose answers it has seen.",
        "",
        "| | |",
        "|---|---|",
        f"| traces read | {counts['traces']:,} |",
        f"| outputs indexed | {counts['outputs']:,}, {counts['distinct_outputs']:,} distinct |",
        f"| of them the model's own answers | {counts['own_outputs']:,} |",
        f"| tokens | {counts['tokens']:,} |",
        f"| output length | mean {counts['tokens'] / counts['outputs']:.0f}, "
        f"longest {counts['longest']} tokens |",
        "",
        *_tasks(tasks),
    ]
    if not quotable:
        return "\n".join([*lines, "Quotes were left out on request.", ""])
    grams = frequent(quotable[:: max(1, len(quotable) // SAMPLE)])
    lines += [
        "## Most frequent n-grams",
        "",
        f"By tokens they could save; each stands in at least {LEAST_TRACES} distinct traces.",
        "",
        "| traces | tokens | text |",
        "|---:|---:|---|",
    ]
    for gram, traces in grams:
        lines.append(f"| {traces:,} | {len(gram)} | `{plain(codec.decode(gram))}` |")
    if not grams:
        lines.append("| | | *nothing is that frequent* |")
    return "\n".join([*lines, ""])


def _tasks(tasks: Sequence[TaskEntry]) -> list[str]:
    if not tasks:
        return []
    return [
        "## Tasks",
        "",
        "Tokens a pass on held-out answers, drafted from the task's own traces and from all.",
        "",
        "| task | traces | its own | all |",
        "|---|---:|---:|---:|",
        *(f"| {plain(t.name)} | {t.traces:,} | {t.own:.2f} | {t.pooled:.2f} |" for t in tasks),
        "",
    ]


def plain(text: str) -> str:
    """As it may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", "⏎").replace("`", "'")


def frequent(outputs: Sequence[Ids]) -> list[tuple[tuple[int, ...], int]]:
    """N-grams with the number of distinct traces they stand in, by tokens saved; none that is
    mostly inside a better one."""
    counts: dict[tuple[int, ...], int] = {}
    alive: set[tuple[int, ...]] | None = None  # a long n-gram is frequent only if its parts are
    for n in range(1, LONGEST + 1):
        traces: defaultdict[tuple[int, ...], int] = defaultdict(int)
        for output in outputs:
            ids = output.tolist()
            grams = {tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)}
            for gram in grams:
                if alive is None or (gram[:-1] in alive and gram[1:] in alive):
                    traces[gram] += 1
        alive = {gram for gram, count in traces.items() if count >= LEAST_TRACES}
        counts.update((gram, traces[gram]) for gram in alive)
    covered = {
        part
        for gram, count in counts.items()
        for part in (gram[:-1], gram[1:])
        if counts.get(part) == count
    }
    whole = [(g, c) for g, c in counts.items() if len(g) > 1 and g not in covered]
    whole.sort(key=lambda pair: (-pair[1] * (len(pair[0]) - 1), pair[0]))
    told: list[tuple[tuple[int, ...], int]] = []
    shown: set[tuple[int, ...]] = set()
    for gram, count in whole:  # the same phrase a little to the left or right is no news
        half = len(gram) // 2 + 1
        parts = {gram[i : i + half] for i in range(len(gram) - half + 1)}
        if parts & shown:
            continue
        told.append((gram, count))
        if len(told) == SHOWN:
            break
        shown |= {gram[i : i + n] for n in range(2, len(gram) + 1) for i in range(len(gram))}
    return told
