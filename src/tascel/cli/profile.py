"""`tascel profile`: what does checking a draft cost on this machine?"""

from __future__ import annotations

from tascel.cli import options
from tascel.cli.console import out, progress


def profile(
    model: options.Model,
    adapter: options.Adapter = None,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
) -> None:
    """Measure the verify cost by width anew and keep it in the price file."""
    from rich.table import Table

    from tascel.engines.profile import price_of
    from tascel.runner import load

    runner = load(None, model=model, adapter=adapter, dtype=dtype, device=device)
    with progress() as report:
        price = price_of(
            runner.engine,
            runner.setting,
            anew=True,
            progress=lambda done, total: report("measuring", done, total),
        )
    table = Table(title="one pass, by tokens checked", title_justify="left")
    for head in ("tokens", "ms", "× one token"):
        table.add_column(head, justify="right")
    row = price.ms[0]
    for width in (1, 2, 4, 8, 16, 32, 64):
        table.add_row(str(width), f"{row[width - 1]:.1f}", f"{row[width - 1] / row[0]:.2f}")
    out.print(table)
    if runner.setting.file.exists():
        out.print(f"kept in {runner.setting.file}", soft_wrap=True)
