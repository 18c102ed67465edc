"""`tascel export`: a bundle, or its model, for an engine that reads files of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tascel.cli import options
from tascel.cli.console import err, out, progress
from tascel.errors import RequestError

#: What each engine is told beside the bundle and where to write to.
_OWN = {"sglang": (), "llamacpp": ("gguf",), "openvino": ("model", "adapter", "weights")}
#: Tokens that SGLang takes unless it is told otherwise.
_USUAL = 10_000_000


def export(
    context: typer.Context,
    bundle: options.Bundle,
    *,
    to: Annotated[str, typer.Option(metavar="|".join(_OWN), help="The engine.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="With --to openvino: the model, as a folder or id."),
    ] = None,
    adapter: options.Adapter = None,
    weights: Annotated[
        str,
        typer.Option(metavar="fp16|int8", help="With --to openvino: what weights are kept as."),
    ] = "fp16",
    gguf: Annotated[
        Path | None,
        typer.Option(help="With --to llamacpp: refuse if this model has another vocabulary."),
    ] = None,
) -> None:
    """Write a bundle's answers as an engine's own files, or the bundle's model as OpenVINO runs
    it."""
    if to not in _OWN:
        raise RequestError(f"nothing is known of {to}'s files", f"Choose one of {', '.join(_OWN)}")
    for name in ("model", "adapter", "weights", "gguf"):
        if name not in _OWN[to] and options.given(context, name):
            raise RequestError(f"--{name} is not for {to}", "Leave it out")
    if to == "sglang":
        _sglang(bundle, output)
    elif to == "llamacpp":
        _llamacpp(bundle, output, gguf)
    elif model is None:
        raise RequestError("which model is OpenVINO to run", "Name it with --model")
    else:
        _openvino(bundle, model, adapter, output, weights)


def _sglang(bundle: Path, output: Path) -> None:
    from tascel.bundle import Bundle
    from tascel.plugins.sglang import export as write

    written = write(Bundle.open(bundle), output)
    for corpus in written:
        _tell(f"{corpus.file}: {corpus.answers:,} answers, {corpus.tokens:,} tokens")
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
    _tell(f"start SGLang with {' '.join(flags)}")


def _llamacpp(bundle: Path, output: Path, gguf: Path | None) -> None:
    from tascel.bundle import Bundle
    from tascel.plugins.lookup import export as write

    opened = Bundle.open(bundle)
    if gguf is not None:
        from tascel.plugins.llamacpp.vocabulary import check

        check(opened, gguf)
    written = write(opened, output)
    for caches in written:
        two, all_ = caches.ngrams
        _tell(
            f"{caches.static.parent}: {caches.answers:,} answers, {two:,} and {all_:,} n-grams in "
            f"{caches.static.name} and {caches.dynamic.name}"
        )
    if gguf is None:
        err.print(
            "llama.cpp does not look whether these files are of its model's tokenizer; --gguf does",
            soft_wrap=True,
        )
    whole = written[0]
    _tell(
        f"start llama-server with --spec-type ngram-cache -lcs {whole.static} -lcd {whole.dynamic}"
    )


def _openvino(bundle: Path, model: str, adapter: Path | None, output: Path, weights: str) -> None:
    from tascel.bundle import Bundle
    from tascel.codec import Codec
    from tascel.engines.hf.load import fingerprint, load_model, tokenizer_of
    from tascel.engines.openvino.convert import convert, refuse

    refuse(output, weights)
    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    opened = Bundle.open(bundle, codec)
    digest = fingerprint(model, adapter)
    if opened.manifest.weights not in (None, digest):
        err.print(
            f"{bundle} was built from other weights than these: answers stay exact, drafts may fit "
            "less well",
            soft_wrap=True,
        )
    lm = load_model(model, adapter, "float32", "cpu")
    with progress() as report:
        done = convert(lm, codec, output, form=weights, weights=digest, progress=report)
    _tell(
        f"{output}: {done.size / 1e6:,.1f} MB of {weights} weights; logits of a sentence are "
        f"{done.mean:.2g} from the model's own on average, {done.most:.2g} at most; these spread "
        f"by {done.spread:.2g}"
    )
    _tell(f"run it with tascel serve {bundle} --model {output} --engine openvino")


def _tell(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)
