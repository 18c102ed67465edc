"""`tascel tailor`: which part of its vocabulary does a model need for one task?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.cli import options
from tascel.cli.console import err, out, plain_table, progress, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from tascel.adapt.tailor.select import Coverage
    from tascel.adapt.tokens.cost import Sizes
    from tascel.selection import Selection

#: What is shown beside the tolerance that was asked for.
_TOLERANCES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def tailor(
    traces: options.Traces,
    model: options.Model,
    adapter: options.Adapter = None,
    tolerance: Annotated[
        float, typer.Option(help="Ids that an answer may lack on average, of those it needs.")
    ] = 0.01,
    input_aware: Annotated[
        bool, typer.Option(help="Leave ids out that the answer's own prompt has.")
    ] = True,
    scripts: Annotated[
        bool, typer.Option(help="Leave letters out of scripts that hardly any answer holds.")
    ] = True,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Store the selection in this bundle.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the smaller model here.")
    ] = None,
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Show how many rows of its vocabulary MODEL needs for the answers of TRACES, what they cover
    and what they save. Reads the split `train`, and what names no split. With --bundle the
    selection is stored for a tailored head; with -o a smaller model is written."""
    from tascel.adapt.tailor.needs import needs
    from tascel.adapt.tailor.select import Filters, Selector
    from tascel.adapt.tokens.cost import sizes
    from tascel.bundle import Bundle
    from tascel.codec import Codec
    from tascel.engines.hf.load import tokenizer_of
    from tascel.filling import put_selection
    from tascel.traces.read import BadLines, read_traces

    filters = Filters(input_aware, scripts, tolerance)
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    size = sizes(model)
    if bundle is not None:
        Bundle.open(bundle, codec)
    if output is not None:
        from tascel.adapt.tailor.export import refuse

        refuse(model, adapter, output)
    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    train = [t for t in stream if t.split in (None, "train") and t.answer is not None]
    with progress() as report:
        selector = Selector(needs(train, codec, report), codec)
    if bad.count:
        err.print(str(bad), markup=False)
    selection, _ = selector.select(filters)
    curve = selector.coverage(filters, sorted({tolerance, *_TOLERANCES}))
    out.print(_table(curve, size, tolerance))
    _tell(selection, size)
    numbers = _numbers(selection, curve, size, asdict(filters))
    if bundle is not None:
        put_selection(bundle, selection, codec)
        out.print(f"\nstored in {bundle}", markup=False, soft_wrap=True)
    if output is not None:
        from tascel.adapt.tailor.export import export

        kept = {*selection.ids.tolist(), *selector.texts(tolerance).tolist()}
        with progress() as report:
            done = export(model, adapter, kept, train, tolerance, output, report)
        numbers["exported"] = asdict(done)
        out.print(
            f"\n{output}: {done.rows:,} of {done.rows_before:,} rows, {done.merged:,} of them for "
            f"smaller pieces; {done.texts:,} of {len(train):,} traces are encoded as before, the "
            "others with smaller pieces",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    write_json(json, numbers)


def _table(curve: list[Coverage], size: Sizes, chosen: float) -> Table:
    ways = ("new groups", "new prompts") if len(curve[0].held_out) > 1 else ("held out",)
    heads = (
        "rows", "+ prompt", "MB", "step",
        *(f"{way}: {what}" for way in ways for what in ("covered", "missed")),
    )  # fmt: skip
    table = plain_table(f"Of {size.rows:,} rows, by tolerance", heads)
    for point in curve:
        rows = point.rows + point.prompt_rows
        table.add_row(
            f"{point.tolerance:g}{' *' if point.tolerance == chosen else ''}",
            f"{point.rows:,}",
            f"{point.prompt_rows:.0f}",
            f"{size.vocabulary(round(rows)) / 1e6:.1f}",
            f"{size.step(rows):.2f}×",
            *(
                cell
                for shares in point.held_out
                for cell in (f"{shares.covered:.1%}", f"{shares.misses:.2%}")
            ),
        )
    return table


def _tell(selection: Selection, size: Sizes) -> None:
    rows, now = len(selection.ids), size.vocabulary(size.rows, size.matrices)
    out.print(
        f"\n{rows:,} rows of {size.rows:,}, from {selection.traces:,} traces: "
        f"{size.vocabulary(rows) / 1e6:.1f} MB on the device instead of {now / 1e6:.1f} "
        f"({size.vocabulary(rows) / now - 1:.1%}); {selection.misses:.2%} of held-out answers' "
        "tokens are neither among them nor in their prompt",
        soft_wrap=True,
    )


def _numbers(
    selection: Selection, curve: list[Coverage], size: Sizes, filters: dict[str, Any]
) -> dict[str, Any]:
    return {
        "filters": filters,
        "traces": selection.traces,
        "rows": len(selection.ids),
        "misses": selection.misses,
        "covered": selection.covered,
        "model": asdict(size),
        "curve": [
            {
                **asdict(point),
                "bytes": size.vocabulary(round(point.rows + point.prompt_rows)),
                "step": size.step(point.rows + point.prompt_rows),
            }
            for point in curve
        ],
    }
