"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tascel.errors import RequestError

if TYPE_CHECKING:
    from tascel.learning import LearnConfig


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither a number nor auto")
    return int(text)


def _engine(*known: str) -> Any:
    """An option that names one of the `known` engines."""

    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}")
        return text

    return typer.Option(
        "--engine",
        parser=parse,
        metavar="|".join(known),
        help="What runs the model: hf is transformers; openvino wants a folder that "
        "`tascel export` wrote.",
    )


def _count_or_file(text: str) -> int | str | Path:
    return Path(text) if Path(text).is_file() else _count(text)


Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
Prompts = Annotated[
    str,
    typer.Argument(
        metavar="PROMPTS",
        help="Traces or prompts: JSONL or Parquet, plain or gzipped, or a folder.",
    ),
]
Traces = Annotated[
    str,
    typer.Argument(
        metavar="TRACES", help="Past exchanges: JSONL or Parquet, plain or gzipped, or a folder."
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Hugging Face id, or a folder with the model.")
]
Adapter = Annotated[
    Path | None, typer.Option("--adapter", "-a", help="PEFT folder on top of the model.")
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|ray", help="Build with so many processes, or with those of a Ray cluster."
    ),
]
Large = Annotated[
    Path | None,
    typer.Option(help="Where the large model of a bridged one is, if not where its folder says."),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[
    str | None, typer.Option(help="As torch names it; default: a GPU if there is one.")
]
Head = Annotated[
    str,
    typer.Option(
        help="full, lossless or fast: the model's own, or that of the bundle's selection with or "
        "without the full one's check; auto is lossless where the bundle has a selection."
    ),
]
Fast = Annotated[
    bool,
    typer.Option("--fast", help="As --head fast, whose answers may differ; says how rarely."),
]
CacheTokens = Annotated[
    int | None,
    typer.Option(min=64, help="What all prompts and answers under way may hold, in tokens."),
]
Engine = Annotated[str, _engine("hf", "openvino")]
AnyEngine = Annotated[str, _engine("hf", "openvino", "vllm")]
Profiled = Annotated[str, _engine("hf", "openvino", "vllm", "llamacpp")]
Flags = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FLAGS", show_default=False, help="After --, what the engine itself is told."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first so many prompts.")]
Split = Annotated[str, typer.Option(help="Use prompts of this split, and those that name none.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")]
NewTokens = Annotated[
    Any,
    typer.Option(
        "--new-tokens", metavar="K|auto", parser=_count, help="So many, or as many as pay."
    ),
]
NewTokensOrFile = Annotated[
    Any,
    typer.Option(
        "--new-tokens",
        metavar="K|auto|FILE",
        parser=_count_or_file,
        help="Tokens to add for what the answers repeat: so many, as many as pay, or those that "
        "`tascel mine --json FILE` found.",
    ),
]
Learn = Annotated[
    bool, typer.Option("--learn", help="Go on learning from what is answered, into the bundle.")
]
LearnTokens = Annotated[
    int | None,
    typer.Option(min=1, help="With --learn: answers' tokens to keep; default: a million."),
]
LearnDays = Annotated[
    float | None, typer.Option(min=0.001, help="With --learn: keep no answer for longer.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        help="Write a report to this file, one page that needs nothing else; some prompts and "
        "answers stand in it.",
    ),
]
Plots = Annotated[
    Path | None,
    typer.Option("--plots", metavar="FOLDER", help="Write the report's pictures as PNG and SVG."),
]
#: Answers that a report shows.
SHOWN = 12
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave malformed records out, and count them.")
]


def only(context: typer.Context, engine: str, *names: str) -> None:
    """See that nothing but `names` was asked for.

    Raises:
        RequestError: an option was given that `engine` is not told.
    """
    for name in context.params:
        if name not in names and given(context, name):
            raise RequestError(
                f"--{name.replace('_', '-')} is not for {engine}",
                f"Leave it out, or give {engine}'s own after --",
            )


def given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was said, not left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def learning(learn: bool, tokens: int | None, days: float | None) -> bool | LearnConfig:
    """What `load` is told of learning.

    Raises:
        RequestError: bounds are given, but nothing is to be learned.
    """
    if not learn and (tokens is not None or days is not None):
        raise RequestError("bounds of what is learned, and no --learn", "Add --learn")
    if not learn:
        return False
    from tascel.learning import LearnConfig

    usual = LearnConfig()
    return LearnConfig(tokens=usual.tokens if tokens is None else tokens, days=days)


def no_flags(flags: list[str] | None) -> None:
    """See that there are no flags for another engine.

    Raises:
        RequestError: there are.
    """
    if flags:
        raise RequestError(
            f"{' '.join(flags)}: flags behind -- are vLLM's", "Leave them out, or use --engine vllm"
        )
