"""`tascel export`: a bundle for an engine that reads files of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out
from tascel.errors import RequestError

#: Tokens that SGLang takes unless it is told otherwise.
_USUAL = 10_000_000


def export(
    bundle: options.Bundle,
    *,
    to: Annotated[str, typer.Option(metavar="sglang", help="The engine.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")],
) -> None:
    """Write a bundle's answers as an engine's own corpus files."""
    from tascel.bundle import Bundle
    from tascel.plugins.sglang import export as write

    if to != "sglang":
        raise RequestError(f"nothing is known of {to}'s files", "Choose --to sglang")
    written = write(Bundle.open(bundle), output)
    for corpus in written:
        out.print(
            f"{corpus.file}: {corpus.answers:,} answers, {corpus.tokens:,} tokens",
            markup=False,
            soft_wrap=True,
        )
    whole = written[0]
    if whole.altered:
        err.print(
            f"{whole.altered:,} of the answers become other ids when SGLang tokenises their text; "
            "drafts from these are refused where they differ"
        )
    flags = [
        "--speculative-algorithm NGRAM --speculative-ngram-external-sam-budget 8",
        f"--speculative-ngram-external-corpus-path {whole.file}",
    ]
    if whole.tokens > _USUAL:
        flags.append(f"--speculative-ngram-external-corpus-max-tokens {whole.tokens}")
    out.print(f"start SGLang with {' '.join(flags)}", markup=False, soft_wrap=True)
