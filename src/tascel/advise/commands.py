"""The commands that advice is made of, as they can be typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import Any

from tascel.engines.known import ENGINES


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked about.

    Attributes:
        traces: how commands call them.
        model: whose tokenizer reads them.
        published: whether that is of Hugging Face; if not, it is an export and no such is known.
        adapter: what lies on top of it.
        weights: whether there is more of it than a tokenizer.
    """

    traces: str
    model: str
    published: bool = True
    adapter: str | Path | None = None
    weights: bool = True

    @property
    def on(self) -> list[str]:
        """The options that name the model."""
        adapter = [] if self.adapter is None else ["--adapter", str(self.adapter)]
        return ["--model", self.model, *adapter]

    def build(self) -> str:
        """A bundle of the traces."""
        return join(["tascel", "build", self.traces, *self.on, "-o", "bundle"])

    def start(self) -> list[str]:
        """A bundle and a server, where nothing was measured that would speak for an engine."""
        serve = join(["tascel", "serve", "bundle", *self.on])
        if not self.published:
            serve += " --engine openvino"
        return [self.build(), *([serve] if self.weights else [])]

    def finetune(self) -> str:
        """A model with new tokens."""
        how = ["--new-tokens", "auto", "-o", "tuned"]
        return join(["tascel", "finetune", self.traces, "--model", self.model, *how])

    def tailor(self) -> str:
        """A selection for a bundle."""
        return join(["tascel", "tailor", self.traces, *self.on, "--bundle", "bundle"])


def run(line: dict[str, Any], asked: Asked, drafts: bool) -> list[str]:
    """How to run what an engine's line is of."""
    engine, model = line["engine"], line["model"]
    on = asked.on if model == asked.model else ["--model", model]
    if engine not in ("hf", "llamacpp"):
        on += ["--engine", engine]
    known = ENGINES[engine]
    get = [] if known.version() else [known.install]  # it was here, or is elsewhere
    if not drafts:
        return get
    if engine == "llamacpp":
        how = f'"{model}", "bundle", n_threads={line["threads"]}'
        return [*get, asked.build(), f"python: tascel.plugins.llamacpp.open_llama({how})"]
    return [*get, asked.build(), join(["tascel", "serve", "bundle", *on])]


def measure(engine: str, model: str, asked: Asked) -> str:
    """How to measure an engine's passes."""
    on = asked.on if model == asked.model and engine == "hf" else ["--model", model]
    return join(["tascel", "profile", *on, *([] if engine == "hf" else ["--engine", engine])])


def get(engine: str, asked: Asked) -> str:
    """How to come by an engine, and by a model for it."""
    known = ENGINES[engine]
    steps = [] if known.version() else [known.install]
    if not asked.weights and engine != "llamacpp":
        steps.append(f"name a folder with the weights, too: {asked.model} has a tokenizer alone")
    elif engine == "openvino":
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
