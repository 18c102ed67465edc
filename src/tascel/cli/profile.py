"""`tascel profile`: what does checking a draft cost on this machine?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tascel.cli import options
from tascel.cli.console import out, progress
from tascel.errors import ModelError

if TYPE_CHECKING:
    from tascel.draft.price import Price
    from tascel.engines.profile import Setting


def profile(
    context: typer.Context,
    flags: options.Flags = None,
    *,
    model: options.Model,
    engine: options.Profiled = "hf",
    adapter: options.Adapter = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Measure with the head of this bundle's selection.")
    ] = None,
    head: options.Head = "auto",
    fast: options.Fast = False,
    large: options.Large = None,
) -> None:
    """Measure anew what a pass costs by its rows and tokens, and keep it in the price file."""
    from tascel.engines.profile import kept_price, price_of
    from tascel.loading import load

    if engine == "vllm":
        options.only(context, "vLLM", "flags", "model", "engine")
        setting = _in_vllm(model, flags or [])
        price = kept_price(setting)
        if price is not None:
            _show(price, setting)
        return
    if engine == "llamacpp":
        options.only(context, "llama.cpp", "flags", "model", "engine")
        _show(*_in_llamacpp(model, flags or []))
        return
    options.no_flags(flags)
    runner = load(
        bundle, model=model, engine=engine, adapter=adapter, dtype=dtype, device=device,
        head="fast" if fast else head, large=large, drafts=bundle is None,
    )  # fmt: skip
    with progress() as report:
        price = price_of(
            runner.engine,
            runner.setting,
            anew=True,
            progress=lambda done, total: report("measuring", done, total),
        )
    _show(price, runner.setting)


def _in_vllm(model: str, flags: list[str]) -> Setting:
    from tascel.plugins.vllm.launch import measure

    with progress() as report:
        report("measuring in vLLM", 0, 1)
        setting = measure(model, flags)
        report("measuring in vLLM", 1, 1)
    return setting


def _in_llamacpp(gguf: str, flags: list[str]) -> tuple[Price, Setting]:
    from tascel.plugins.llamacpp import cannot_draft, open_plain, options_of, price_of, setting_of

    chosen = options_of(flags)
    llama = open_plain(gguf, **chosen)
    if refused := cannot_draft(llama):
        raise ModelError(f"{gguf}: {refused}", "There is nothing to measure for it then")
    setting = setting_of(gguf, llama, chosen)
    with progress() as report:
        price = price_of(
            llama,
            setting,
            anew=True,
            progress=lambda done, total: report("measuring in llama.cpp", done, total),
        )
    return price, setting


def _show(price: Price, setting: Setting) -> None:
    from rich.table import Table

    from tascel.engines.profile import BATCH_WIDTHS

    title = "milliseconds a pass, by rows and by tokens checked of each"
    table = Table(title=title, title_justify="left")
    table.add_column("tokens", justify="right")
    for rows in price.rows:
        table.add_column("1 row" if rows == 1 else f"{rows} rows", justify="right")
    for width in (1, 2, 4, 8, 16, 32, 64):
        counts = [rows for rows in price.rows if rows == 1 or width <= max(BATCH_WIDTHS)]
        costs = [price.curve(rows * width, 0, rows)[0] for rows in counts]
        table.add_row(str(width), *(f"{ms:.1f}" for ms in costs))
    out.print(table)
    if setting.file.exists():
        out.print(f"kept in {setting.file}", soft_wrap=True)
