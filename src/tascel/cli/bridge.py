"""`tascel bridge`: a large model reads the prompt once, a small one writes the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tascel.cli import options, training
from tascel.cli.console import err, out, plain_table, progress, write_json

if TYPE_CHECKING:
    from rich.table import Table

Large = Annotated[
    str, typer.Option(help="The model that reads: Hugging Face id or folder, decoder or encoder.")
]
LargeAdapter = Annotated[Path | None, typer.Option(help="PEFT folder on top of LARGE.")]
Layer = Annotated[
    int | None,
    typer.Option(min=1, help="Read after so many layers of a decoder; default two thirds."),
]
Small = Annotated[str, typer.Option(help="The model that writes: Hugging Face id or folder.")]

app = typer.Typer(
    help="Let a large model read the prompt once and a small one write the answer.",
    no_args_is_help=True,
)


@app.command()
def plan(
    traces: options.Traces,
    large: Large,
    small: Small,
    large_adapter: LargeAdapter = None,
    layer: Layer = None,
    limit: Annotated[int, typer.Option(min=1, help="Replay so many held-out answers.")] = 24,
    dtype: options.Dtype = "auto",
    json: options.Json = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Measure both models here and say from which answer length on a bridge would pay.

    Nothing is trained. Rows of bridged models are projections from measured passes.
    """
    from tascel.bench.bridge import plan as run
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    with progress() as show:
        content = run(
            stream, large, small,
            adapter=large_adapter, layer=layer, dtype=dtype, limit=limit,
            progress=show,
        )  # fmt: skip
    if bad.count:
        err.print(str(bad), markup=False)
    write_json(json, content)
    out.print(_table(content))
    out.print(_lengths(content), soft_wrap=True)
    out.print(content["verdict"], soft_wrap=True)


@app.command()
def cut(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Hugging Face id, or a folder with the model.")
    ],
    layers: Annotated[int, typer.Option(min=1, help="How many to keep, evenly spaced.")],
    output: training.Output,
    adapter: options.Adapter = None,
) -> None:
    """Write a smaller model of some of MODEL's layers, to be trained as the small one."""
    from tascel.adapt.cut_layers import cut_layers

    done = cut_layers(model, layers, output, adapter)
    out.print(
        f"{output}: layers {', '.join(map(str, done.layers))} of {done.layers_before}, "
        f"{done.parameters / 1e6:,.1f}M of {done.parameters_before / 1e6:,.1f}M parameters; "
        "it answers badly until it is trained",
        soft_wrap=True,
    )


@app.command()
def train(
    traces: options.Traces,
    large: Large,
    small: Small,
    output: training.Output,
    large_adapter: LargeAdapter = None,
    layer: Layer = None,
    fuse: Annotated[
        str, typer.Option(help="add to the small model's embeddings, or replace them.")
    ] = "add",
    hidden: Annotated[
        int | None,
        typer.Option(min=1, help="Width of the projector's hidden layer; default twice SMALL's."),
    ] = None,
    bridge_rate: Annotated[
        float, typer.Option(min=0.0, help="How many times faster than SMALL the projector learns.")
    ] = 1.0,
    dtype: options.Dtype = "auto",
    new_tokens: options.NewTokensOrFile = "0",
    init: training.Init = "directional",
    row_rate: training.RowRate = 5.0,
    method: Annotated[str, typer.Option(help="Of SMALL: full or lora.")] = "full",
    epochs: training.Epochs = 1.0,
    steps: training.Steps = None,
    batch: training.Batch = 16,
    lr: training.Rate = None,
    rank: training.Rank = 8,
    seed: training.Seed = 0,
    limit: training.Limit = None,
    valid: training.Valid = 256,
    evaluate_every: training.EvaluateEvery = 100,
    patience: training.Patience = 3,
    resume: training.Resume = False,
    skip_bad: options.SkipBad = False,
) -> None:
    """Train SMALL to answer TRACES with what LARGE reads in their prompts.

    LARGE stays as it is, and reads every prompt once before the training. The result is a folder
    of SMALL that knows its LARGE; --dtype is what LARGE reads in.
    """
    from tascel.adapt.bridge.config import BridgeConfig
    from tascel.adapt.bridge.train import train_bridge
    from tascel.adapt.train.config import FinetuneConfig
    from tascel.traces.read import BadLines, read_traces

    bad = BadLines()
    stream = read_traces(traces, skip_bad=skip_bad, on_bad=bad.add)
    bridge = BridgeConfig(large, layer, large_adapter, fuse, hidden, bridge_rate, dtype)
    config = FinetuneConfig(
        new_tokens=0 if isinstance(new_tokens, Path) else new_tokens,
        init=init,
        row_rate=row_rate,
        method=cast(Literal["lora", "full"], method),
        rank=rank,
        alpha=2 * rank,
        learning_rate=training.highest(lr, method),
        batch=batch,
        epochs=epochs,
        steps=steps,
        limit=limit,
        seed=seed,
        valid=valid,
        evaluate_every=evaluate_every,
        patience=patience,
    )
    with progress() as report:
        trained = train_bridge(
            stream,
            small,
            output,
            bridge,
            config,
            resume=resume,
            mined=new_tokens if isinstance(new_tokens, Path) else None,
            progress=report,
            on_evaluation=lambda evaluation: err.print(str(evaluation)),
        )
    training.report(output, trained, config, bad)


def _table(content: dict[str, Any]) -> Table:
    table = plain_table(
        f"{content['large']['name']} and {content['small']['name']}, "
        f"{content['replayed']} held-out answers",
        ("ms an answer", "to first token", "tokens a pass"),
    )
    for row in content["answers"]:
        table.add_row(
            row["name"] + (" (projected)" if row["projected"] else ""),
            f"{row['ms']:,.0f}",
            f"{row['before_first_token']:,.0f}",
            f"{row['tokens_per_pass']:.2f}",
        )
    return table


def _lengths(content: dict[str, Any]) -> str:
    """From which answer length on a bridge is ahead."""
    even, paid = content["break_even_tokens"], content["paid_back_tokens"]
    if even is None:
        return "The small model's steps are not shorter than the large one's, or that has none."
    tokens = content["small"]["tokens"]
    return (
        f"Without drafts, bridged is ahead from {even:,.1f} tokens on, and the large model's whole "
        f"prefill is paid back after {paid:,.1f}; answers have {tokens:,.1f} behind the first here."
    )
