"""What was found about the engines, put in order, and one recommendation in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

from tascel.engines.known import ENGINES

#: Less than this is no gain worth a bundle, or another engine.
_WORTH = 1.05


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked about.

    Attributes:
        traces: how commands call them.
        model: whose tokenizer reads them.
        published: whether that is of Hugging Face; if not, it is an export and no such is known.
        adapter: what lies on top of it.
    """

    traces: str
    model: str
    published: bool = True
    adapter: str | Path | None = None

    @property
    def on(self) -> list[str]:
        """The options that name the model."""
        adapter = [] if self.adapter is None else ["--adapter", str(self.adapter)]
        return ["--model", self.model, *adapter]


def report(
    numbers: dict[str, Any],
    lines: Sequence[dict[str, Any]],
    unmeasured: Sequence[tuple[str, str]],
    asked: Asked,
) -> dict[str, Any]:
    """The stable output format of `advise`; all times in milliseconds an answer.

    `engines` come in the order of what an answer takes, with drafts where they pay (`drafts`).
    `reading_ms` is the median prompt's, at the slope of the widest passes that were measured.
    `to_measure` has no price file here, `absent` is not installed or has no model to run; each says
    what to `do`.
    """
    ranked = sorted(({**line, "drafts": _pays(line)} for line in lines), key=_ms)
    to_measure = [
        {"engine": engine, "model": model, "do": _measure(engine, model, asked)}
        for engine, model in unmeasured
        if ENGINES[engine].version()
    ]
    there = {entry["engine"] for entry in [*ranked, *to_measure]}
    absent = [{"engine": name, "do": _get(name, asked)} for name in ENGINES if name not in there]
    return {
        **numbers,
        "engines": ranked,
        "to_measure": to_measure,
        "absent": absent,
        "recommendation": {
            "words": _words(ranked, to_measure),
            "commands": _commands(ranked[0], asked) if ranked else [e["do"] for e in to_measure],
        },
    }


def title(line: dict[str, Any]) -> str:
    """What people call an engine's line."""
    count = line["threads"]
    threads = f"{count} thread{'s' if count > 1 else ''}"
    where = threads if line["device"] == "cpu" else line["device"]
    name = ENGINES[line["engine"]].title
    return f"{name}, {Path(line['model']).name}, {line['dtype']} on {where}"


def _pays(line: dict[str, Any]) -> bool:
    return line["drafted_ms"] * _WORTH < line["plain_ms"]


def _ms(line: dict[str, Any]) -> float:
    return line["drafted_ms"] if line["drafts"] else line["plain_ms"]


def _words(ranked: Sequence[dict[str, Any]], to_measure: Sequence[dict[str, Any]]) -> str:
    if not ranked:
        return (
            "Nothing was measured on this machine yet: run what is below, then ask again."
            if to_measure
            else "No engine that could run these models is installed: see what to do about each."
        )
    first, *others = ranked
    said = [f"Take {title(first)}: {_ms(first):,.0f} ms an answer"]
    if first["drafts"]:
        gain = first["plain_ms"] / first["drafted_ms"]
        said[0] += f" with drafts, {gain:.1f} times less than without."
    else:
        said[0] += ". Drafts would not pay there: it needs no bundle."
    if others:
        said.append(_next(first, others[0]))
    if first["rounded"]:
        said.append(_rounded(others))
    if to_measure:
        names = ", ".join(f"{ENGINES[e['engine']].title} ({e['model']})" for e in to_measure)
        said.append(f"Not measured yet: {names}.")
    return " ".join(said)


def _next(first: dict[str, Any], second: dict[str, Any]) -> str:
    over = _ms(second) / _ms(first)
    if over < _WORTH:
        return f"{title(second)} takes about as long."
    return f"{title(second)} takes {over:.1f} times as long."


def _rounded(others: Sequence[dict[str, Any]]) -> str:
    whole = next((line for line in others if not line["rounded"]), None)
    said = "Its weights are rounded: score its answers on your task before you rely on them"
    return f"{said}." if whole is None else f"{said}; {title(whole)} rounds none."


def _commands(line: dict[str, Any], asked: Asked) -> list[str]:
    """How to run what a line is of."""
    engine, model = line["engine"], line["model"]
    on = asked.on if model == asked.model else ["--model", model]
    if engine not in ("hf", "llamacpp"):
        on += ["--engine", engine]
    known = ENGINES[engine]
    get = [] if known.version() else [known.install]  # it was here, or is elsewhere
    if not line["drafts"]:
        return get
    made = join(["tascel", "build", asked.traces, *asked.on, "-o", "bundle"])
    if engine == "llamacpp":
        how = f'"{model}", "bundle", n_threads={line["threads"]}'
        return [*get, made, f"python: tascel.plugins.llamacpp.open_llama({how})"]
    return [*get, made, join(["tascel", "serve", "bundle", *on])]


def _measure(engine: str, model: str, asked: Asked) -> str:
    on = asked.on if model == asked.model and engine == "hf" else ["--model", model]
    return join(["tascel", "profile", *on, *([] if engine == "hf" else ["--engine", engine])])


def _get(engine: str, asked: Asked) -> str:
    """How to come by an engine, and by a model for it."""
    known = ENGINES[engine]
    steps = [] if known.version() else [known.install]
    if engine == "openvino":
        to = ["--to", "openvino", "-o", "openvino"]
        steps.append(join(["tascel", "export", "bundle", *asked.on, *to]))
    elif engine == "llamacpp":
        steps.append("convert the model with llama.cpp's convert_hf_to_gguf.py")
    elif not asked.published:
        steps.append("name the Hugging Face model that was exported, too")
    elif engine == "vllm" and asked.adapter is not None:
        steps.append("merge the adapter into the model, which vLLM runs then")
    else:
        steps.append(join(["tascel", "profile", *asked.on, "--engine", engine]))
    return "; ".join(steps)
