"""`tascel forget`: exchanges leave a bundle, and all that was made of them."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import out, progress
from tascel.errors import RequestError


def forget(
    bundle: options.Bundle,
    match: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Those whose prompt or output this is found in."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Those older than 90m, 12h, 30d or 2w.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many there are.")
    ] = False,
) -> None:
    """Forget exchanges; with both options those for which both hold."""
    from tascel.building.forget import Which, since
    from tascel.building.forget import forget as run

    try:
        pattern = None if match is None else re.compile(match)
    except re.error as reason:
        raise RequestError(f"{match!r} is no regular expression ({reason})", "Correct it") from None
    which = Which(pattern, None if older_than is None else since(older_than))
    with progress() as report:
        done = run(bundle, which, dry_run=dry_run, progress=report)
    said = f"{bundle}: {done.found:,} of {done.total:,} exchanges"
    if dry_run:
        out.print(f"{said} would be forgotten", markup=False)
    elif done.found:
        out.print(f"{said} are forgotten", markup=False)
    else:
        out.print(f"{said}, nothing was changed", markup=False)
    if done.dropped:
        go = "would go" if dry_run else "went"
        out.print(
            f"{' and '.join(done.dropped)} {go} with them: `tascel tailor` and `tascel distill` "
            "make them anew",
            soft_wrap=True,
        )
