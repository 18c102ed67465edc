"""`tascel tasks`: which tasks a bundle has learned."""

from __future__ import annotations

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
        out.print(f"{bundle}: one task of {opened.manifest.counts['outputs']:,} traces")
        return
    table = plain_table(
        f"{len(entries)} tasks; tokens a pass on held-out answers", ("traces", "its own", "all")
    )
    for entry in entries:
        table.add_row(entry.name, f"{entry.traces:,}", f"{entry.own:.2f}", f"{entry.pooled:.2f}")
    out.print(table)
