"""`tascel tasks`: which tasks a bundle has learned."""

from __future__ import annotations

from rich.text import Text

from tascel.cli import options
from tascel.cli.console import out, plain_table, write_json


def tasks(bundle: options.Bundle, json: options.Json = None) -> None:
    """List the tasks of a bundle: their traces, and what their drafts made of held-out answers."""
    from dataclasses import asdict

    from tascel.bundle import Bundle

    opened = Bundle.open(bundle)
    entries = opened.manifest.tasks
    write_json(json, {"tasks": [asdict(entry) for entry in entries]})
    if not entries:
        one = f"{bundle}: one task of {opened.manifest.counts['outputs']:,} traces"
        out.print(one, markup=False, soft_wrap=True)
        return
    table = plain_table(
        f"{len(entries)} tasks; tokens a pass on held-out answers", ("traces", "its own", "all")
    )
    for entry in entries:
        rates = [f"{rate:.2f}" if rate else "–" for rate in (entry.own, entry.pooled)]
        table.add_row(Text(entry.name), f"{entry.traces:,}", *rates)  # a name is no markup
    out.print(table)
