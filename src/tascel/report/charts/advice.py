"""What traces are like, and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tascel.report.charts.memory import bars
from tascel.report.charts.speed import short
from tascel.report.drawing import Chart, Colours

Content = Mapping[str, Any]
#: Engines drawn, the quickest first.
_ENGINES = 8


def lengths(found: Content) -> Chart:
    """How long answers are."""
    edges: Sequence[int] = found["histogram"]["edges"]
    counts: Sequence[int] = found["histogram"]["counts"]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        axes.bar(
            edges[:-1], [100 * n / found["answers"] for n in counts], align="edge",
            width=[0.9 * (b - a) for a, b in pairwise(edges)],
            color=colours["accent"],
        )  # fmt: skip
        axes.axvline(found["mean"], color=colours["warm"], linewidth=1.2, linestyle="--")
        axes.set_xlabel("tokens of an answer")
        axes.set_ylabel("% of answers")

    return Chart(
        "lengths",
        "How long answers are",
        f"{found['answers']:,} answers, on average {found['mean']:.1f} tokens with the closing one "
        f"(dashed), at most {found['longest']:,}.",
        draw,
    )


def entropy(found: Content) -> Chart:
    """How much less there is to say than to read, beside tasks of a paper."""
    rows = sorted([found, *found["paper"]], key=lambda row: row["bits_out"])

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for at, row in enumerate(reversed(rows)):
            colour = colours["accent" if row is found else "other"]
            axes.hlines(at, row["bits_in"], row["bits_out"], color=colour, linewidth=2)
            axes.plot(row["bits_in"], at, "o", color=colour, fillstyle="none", markersize=5)
            axes.plot(row["bits_out"], at, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(rows)), [short(row["task"], 28) for row in reversed(rows)])
        axes.set_xlim(left=0)
        axes.grid(axis="x", linewidth=0.5)
        axes.set_xlabel("bits: prompts (hollow), answers (filled)")

    return Chart(
        "entropy",
        "Entropy of pairs of words",
        f"From {found['bits_in']:.1f} bits in prompts to {found['bits_out']:.1f} in answers, among "
        "the tasks of TASC's Table 1; the further to the left answers are, the more of them a "
        f"draft can know. Nearest: {found['like']}.",
        draw,
        0.9 + 0.24 * len(rows),
    )


def budget(found: Content) -> Chart:
    """Tokens and time by how many new tokens the vocabulary gets."""
    curve, best = found["curve"], found["best"]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        rows = [point["rows"] for point in curve]
        tokens = [100 * point["tokens"] / curve[0]["tokens"] for point in curve]
        times = [100 * point["time"] for point in curve]
        axes.plot(rows, tokens, "-o", color=colours["accent"], markersize=3, label="tokens")
        axes.plot(rows, times, "--", color=colours["warm"], linewidth=1.2, label="time")
        axes.set_ylim(0, 104)
        if best is not None:
            axes.axvline(best["rows"], color=colours["muted"], linewidth=0.8, linestyle=":")
        axes.grid(axis="y", linewidth=0.5)
        axes.set_xlabel("new tokens")
        axes.set_ylabel("% of today's")
        axes.legend(frameon=False)

    said = ""
    if best is not None:
        said = f"{best['rows']:,} (dotted) would pay most: {best['fewer']:.1f} times fewer tokens. "
    return Chart(
        "token_budget",
        "What new tokens would save",
        f"{said}Counted on held-out answers; time counts what the larger vocabulary costs, too. "
        "The model would have to be fine-tuned.",
        draw,
    )


def head(found: Content) -> Chart:
    """The whole vocabulary's rows beside those of the task."""
    sizes, mib = found["head"], 2**20
    known = {
        "head and embedding, now": sizes["now_bytes"] / mib,
        f"of {found['rows']:,} rows": sizes["then_bytes"] / mib,
    }
    return Chart(
        "head_memory",
        "Memory of a tailored head",
        f"Of {found['size']:,} ids the task writes {found['written']:,}, which cover "
        f"{found['covered']:.1%} of held-out answers' tokens. The whole model takes "
        f"{sizes['total_bytes'] / mib:,.0f} MiB. On a CPU the rest stays a mapped file, of which "
        "a step reads less.",
        bars(known, "MiB on the device"),
        1.5,
    )


def engines(lines: Sequence[Content], named: Sequence[str]) -> Chart:
    """Milliseconds an answer by engine, with drafts and without."""
    left = f" The quickest {_ENGINES} of {len(lines)}." if len(lines) > _ENGINES else ""
    lines, named = lines[:_ENGINES], [short(name, 34) for name in named[:_ENGINES]]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for at, line in enumerate(reversed(lines)):
            plain = axes.barh(at + 0.18, line["plain_ms"], 0.32, color=colours["other"])
            drafted = axes.barh(at - 0.18, line["drafted_ms"], 0.32, color=colours["accent"])
            if at == 0:
                figure.legend(
                    [plain, drafted], ["without drafts", "with drafts"],
                    loc="outside lower center", ncols=2, frameon=False,
                )  # fmt: skip
            for shift, ms in ((0.18, line["plain_ms"]), (-0.18, line["drafted_ms"])):
                axes.annotate(
                    f"{ms:,.0f}", (ms, at + shift), (4, 0), textcoords="offset points", va="center"
                )
        axes.set_yticks(range(len(lines)), [name.replace(", ", "\n", 1) for name in named[::-1]])
        axes.set_xlim(0, 1.15 * max(max(line["plain_ms"], line["drafted_ms"]) for line in lines))
        axes.set_xlabel("ms an answer")

    return Chart(
        "engines",
        "Which engine",
        "Estimated from passes that were measured on this machine, and from how far drafts were "
        f"right on held-out answers.{left}",
        draw,
        1.2 + 0.6 * len(lines),
    )
