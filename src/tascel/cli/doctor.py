"""`tascel doctor`: does everything here work?"""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.table import Table

from tascel.cli.console import err, out


def doctor() -> None:
    """Look at Python, packages, processor and folders; fails if something needed is broken."""
    from tascel.doctor import examine

    with err.status("looking at packages and folders"):
        findings = list(examine())
    marks = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[bold red]broken[/]"}
    table = Table(title="tascel doctor", title_justify="left")
    for head in ("", "part", "found", "what to do"):
        table.add_column(head, overflow="fold")
    for finding in findings:
        cells = (finding.part, finding.found, finding.remedy)
        table.add_row(marks[finding.state], *map(escape, cells))
    out.print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
