"""What drafts did: how far they were right, by place and source, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tascel.report.drawing import Chart, Colours

#: Places in a draft that are told apart, by where each such span ends; the last has no end.
_ENDS = (1, 2, 4, 8, 16, 32)
_SPANS = ("1", "2", "3–4", "5–8", "9–16", "17–32", "33+")
#: A share of fewer tokens says nothing.
_LEAST = 10


def drafted(drafting: Mapping[str, Any], price_ms: Sequence[float]) -> list[Chart]:
    """All that the steps of a run tell; nothing where no pass drafted."""
    if not drafting["drafted_passes"]:
        return []
    charts = [_lengths(drafting), _positions(drafting), _sources(drafting)]
    if drafting["hindsight"]:
        charts += [_hindsight(drafting["hindsight"]), _price(drafting["hindsight"], price_ms)]
    return charts


def _lengths(drafting: Mapping[str, Any]) -> Chart:
    counts: list[int] = drafting["tokens_written"]
    mean = sum(n * count for n, count in enumerate(counts)) / drafting["passes"]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        shares = [100 * count / drafting["passes"] for count in counts[1:]]
        axes.bar(range(1, len(counts)), shares, color=colours["accent"], width=0.85)
        axes.axvline(mean, color=colours["warm"], linewidth=1.2, linestyle="--")
        top = (mean, max(shares))
        axes.annotate(f"mean {mean:.1f}", top, (4, 0), textcoords="offset points", va="top")
        axes.set_xlabel("tokens a pass wrote")
        axes.set_ylabel("% of passes")

    return Chart(
        "accepted_lengths",
        "Accepted lengths",
        f"Tokens that {drafting['passes']:,} passes wrote: those of the draft that were right, and "
        "one of the model's own. Plain decoding writes one.",
        draw,
    )


def _positions(drafting: Mapping[str, Any]) -> Chart:
    rows = [row for row in drafting["positions"] if row["drafted"] >= _LEAST]
    rows = rows or drafting["positions"]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        at = [row["position"] for row in rows]
        right = [100 * row["accepted"] / row["drafted"] for row in rows]
        axes.plot(at, right, "-o", color=colours["accent"], markersize=3)
        axes.set_ylim(0, 104)
        axes.grid(axis="y", linewidth=0.5)
        axes.set_xlabel("position in the draft")
        axes.set_ylabel("% right up to there")

    return Chart(
        "acceptance_by_position",
        "Acceptance by position",
        "Of the drafts that went so far or further, the share whose tokens were all right up to "
        f"there; positions that {_LEAST} drafts or more reached.",
        draw,
    )


def _sources(drafting: Mapping[str, Any]) -> Chart:
    sources: Mapping[str, Any] = drafting["sources"]
    shares = {name: _by_span(own["positions"]) for name, own in sources.items()}

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for row, (name, own) in enumerate(shares.items()):
            for column, share in enumerate(own):
                if share is None:
                    continue
                axes.barh(row, 1, left=column, height=0.9, color=colours[name], alpha=0.4 * share)
                axes.text(column + 0.5, row, f"{share:.0%}", ha="center", va="center", fontsize=7.5)
        labels = [
            f"{name}\n{own['accepted']:,} of {own['offered']:,}" for name, own in sources.items()
        ]
        axes.set_yticks(range(len(sources)), labels)
        axes.set_xticks([at + 0.5 for at in range(len(_SPANS))], _SPANS)
        axes.set_xlim(0, len(_SPANS))
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("position in the draft")

    return Chart(
        "acceptance_by_source",
        "Acceptance by source",
        "Of the tokens that each source had checked, the share that was right, by how far into the "
        "draft they stood. Trees check several tokens at a position, of which one can be right. "
        f"Shares of fewer than {_LEAST} tokens are left out.",
        draw,
        0.9 + 0.42 * len(sources),
    )


def _by_span(places: Sequence[Sequence[int]]) -> list[float | None]:
    """Shares by spans of positions, None where there is too little to tell."""
    offered, accepted = [0] * len(_SPANS), [0] * len(_SPANS)
    for at, n, right in places:
        span = next((i for i, end in enumerate(_ENDS) if at <= end), len(_ENDS))
        offered[span] += n
        accepted[span] += right
    return [a / o if o >= _LEAST else None for o, a in zip(offered, accepted, strict=True)]


def _hindsight(hindsight: Mapping[str, Any]) -> Chart:
    lengths: Sequence[tuple[int, int, int]] = hindsight["lengths"]
    chosen, best = hindsight["ms_a_token"], hindsight["ms_a_token_best"]
    passes = sum(n for *_, n in lengths)
    means = [sum(row[i] * row[2] for row in lengths) / passes for i in (0, 1)]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        widest = max(max(width, least) for width, least, _ in lengths)
        most = max(n for *_, n in lengths)
        axes.plot([0, widest], [0, widest], ":", color=colours["muted"], linewidth=0.8)
        axes.scatter(
            [width for width, _, _ in lengths],
            [least for _, least, _ in lengths],
            s=[6 + 120 * n / most for *_, n in lengths],
            color=colours["accent"], alpha=0.45, linewidths=0,
        )  # fmt: skip
        axes.set_xlabel("tokens drafted")
        axes.set_ylabel("best in hindsight")

    return Chart(
        "hindsight",
        "Draft length, chosen and best in hindsight",
        "Each dot stands for passes, a larger one for more. On the dotted line nothing was drafted "
        f"in vain. On average {means[0]:.1f} tokens were drafted and {means[1]:.1f} would have "
        f"been best: {chosen:.3g} ms a token by the price, {best:.3g} in hindsight, "
        f"{hindsight['ms_of_one']:.3g} without drafts. {hindsight['cut_short']:.0%} of the "
        "drafts were right down to a tip where the answer went on: longer ones might have been, "
        "too.",
        draw,
    )


def _price(hindsight: Mapping[str, Any], price_ms: Sequence[float]) -> Chart:
    widths: dict[int, int] = {}
    for width, _, n in hindsight["lengths"]:
        widths[width + 1] = widths.get(width + 1, 0) + n
    last = max(32, *widths)
    shown = price_ms[:last]

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        used = axes.twinx()
        passes = sum(widths.values())
        used.bar(
            [*widths], [100 * n / passes for n in widths.values()],
            color=colours["other"], alpha=0.55, width=0.85,
        )  # fmt: skip
        used.set_ylabel("% of passes (bars)")
        used.spines["right"].set_visible(False)
        axes.set_zorder(used.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.plot(range(1, len(shown) + 1), shown, color=colours["warm"], linewidth=1.6)
        axes.set_ylim(0, 1.1 * max(shown))
        axes.set_xlabel("tokens in a pass")
        axes.set_ylabel("ms a pass (line)")

    return Chart(
        "price",
        "What a pass costs",
        "The price file's curve, by which drafts are cut, and how wide the later passes were.",
        draw,
    )
