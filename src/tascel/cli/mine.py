"""`tascel mine`: which new tokens would a task get, and what would they save? Trains nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.cli import options
from tascel.cli.console import err, out, plain_table, progress, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from tascel.adapt.tokens.choose import Choice
    from tascel.adapt.tokens.vocabulary import Vocabulary
    from tascel.codec import Codec

#: Tokens and refused runs that are listed.
_SHOWN, _REFUSED = 20, 10


def mine(
    traces: options.Traces,
    model: options.Model,
    new_tokens: options.NewTokens = "auto",
    n_max: Annotated[int, typer.Option(help="Tokens merged at once, new ones among them.")] = 4,
    longest: Annotated[int, typer.Option(help="Base tokens of a new token at most.")] = 32,
    words: Annotated[
        bool, typer.Option("--words", help="No token holds more than one word.")
    ] = False,
    collision: Annotated[
        str, typer.Option(help="Prefix collision score: conditional, or formula as in the paper.")
    ] = "conditional",
    alpha: Annotated[
        float, typer.Option(help="Refuse n-grams with this score or a higher one; 1: none.")
    ] = 0.5,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many traces at most.")] = None,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Show which runs of tokens TRACES repeat so often that each deserves a token of its own, and
    what that saves: of the split `train`, or of those that name no split. Needs no weights."""
    from itertools import islice

    from tascel.adapt.tokens.choose import choose
    from tascel.adapt.tokens.cost import row_cost
    from tascel.adapt.tokens.mining import MiningConfig
    from tascel.codec import Codec
    from tascel.traces.read import BadLines, read_traces

    size: int | None = None if new_tokens == "auto" else new_tokens
    config = MiningConfig(
        n_max=n_max, longest=longest, cross_words=not words, collision=collision, alpha=alpha
    )
    codec = Codec.from_pretrained(model)
    vocabulary = _vocabulary(model)
    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    train = (t for t in stream if t.split in (None, "train") and t.answer is not None)
    cost = row_cost(model)
    with progress() as report:
        choice = choose(
            [*islice(train, limit)], codec, vocabulary.refuse, size, cost, config, report
        )
    if bad.count:
        err.print(str(bad), markup=False)
    if choice.note:
        err.print(choice.note, soft_wrap=True)
    _show(choice, codec)
    write_json(json, _numbers(choice, codec, cost, asdict(config)))


def _vocabulary(model: str) -> Vocabulary:
    from transformers import AutoTokenizer

    from tascel.adapt.tokens.vocabulary import Vocabulary

    auto: Any = AutoTokenizer
    return Vocabulary(auto.from_pretrained(model))


def _show(choice: Choice, codec: Codec) -> None:
    if choice.curve:
        out.print(_curve(choice))
    if choice.runs:
        out.print(_tokens(choice, codec))
    if choice.refused:
        out.print(_refused(choice, codec))
    saved = choice.base / choice.shortest
    out.print(
        f"\n{len(choice.runs):,} new tokens write {choice.outputs:,} outputs with "
        f"{choice.shortest:,} tokens instead of {choice.base:,}: {saved:.2f} times fewer "
        f"(longest match: {choice.longest:,})",
        soft_wrap=True,
    )


def _curve(choice: Choice) -> Table:
    heads = ("tokens", "longest match", "fewer", "time", "Rényi-2", "rare")
    table = plain_table("On held-out outputs, by rows", heads)
    for point in choice.curve:
        table.add_row(
            f"{point.rows:,}",
            f"{point.tokens:,}",
            f"{point.longest:,}",
            f"{choice.curve[0].tokens / point.tokens:.2f}×",
            f"{point.time:.3f}",
            f"{point.renyi2:.2f}",
            f"{point.rare:,}",
        )
    return table


def _tokens(choice: Choice, codec: Codec) -> Table:
    table = plain_table("The tokens that save most", ("base tokens", "uses", "saved"))
    most = sorted(zip(choice.runs, choice.uses, strict=True), key=_saved, reverse=True)
    for run, uses in most[:_SHOWN]:
        table.add_row(_text(run, codec), f"{len(run)}", f"{uses:,}", f"{_saved((run, uses)):,}")
    return table


def _refused(choice: Choice, codec: Codec) -> Table:
    reasons = ", ".join(f"{count:,} {why}" for why, count in choice.reasons.most_common())
    table = plain_table(f"Refused: {reasons}", ("base tokens", "uses", "why"))
    often = sorted(choice.refused, key=lambda refused: refused.uses, reverse=True)
    for run, uses, why in often[:_REFUSED]:
        table.add_row(_text(run, codec), f"{len(run)}", f"{uses:,}", why)
    return table


def _saved(token: tuple[tuple[int, ...], int]) -> int:
    run, uses = token
    return uses * (len(run) - 1)


def _text(run: tuple[int, ...], codec: Codec) -> Any:
    """What a run writes, as it may stand in a table: quoted, since spaces matter."""
    from rich.text import Text

    return Text(repr(codec.decode(run)), no_wrap=True, overflow="ellipsis")


def _numbers(
    choice: Choice, codec: Codec, row_cost: float, settings: dict[str, Any]
) -> dict[str, Any]:
    from tascel.adapt.tokens.mined import RUN, TOKENIZER, TOKENS

    return {
        TOKENIZER: codec.fingerprint,
        "settings": {**settings, "size": "auto" if choice.asked is None else choice.asked},
        "row_cost": row_cost,
        "outputs": choice.outputs,
        "tokens": {
            "base": choice.base, "shortest": choice.shortest, "longest": choice.longest,
        },
        TOKENS: [
            {"text": codec.decode(run), RUN: run, "uses": uses, "saved": _saved((run, uses))}
            for run, uses in zip(choice.runs, choice.uses, strict=True)
        ],
        "curve": [asdict(point) for point in choice.curve],
        "refused": dict(choice.reasons),
        "most_refused": [
            {"text": codec.decode(refused.run), "uses": refused.uses, "why": refused.why}
            for refused in sorted(choice.refused, key=lambda refused: -refused.uses)[:100]
        ],
    }  # fmt: skip
