"""Who is compared by `engines.py`: each engine without drafts, with its own best, and with ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

Settings = Mapping[str, Any]


def grid(**values: Sequence[Any]) -> list[Settings]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


@dataclass(frozen=True)
class Contender:
    """Who runs (a function of `engines_worker.py`), in which environment, with which file, and the
    settings worth trying, the first as it ships; `form` is the model's, and part of its name."""

    kind: str
    model: str
    settings: Sequence[Settings] = ({},)
    bundle: bool = False


CONTENDERS: Mapping[str, Contender] = {
    "transformers": Contender("transformers", "models/{task}"),
    "transformers-lookup": Contender(
        "transformers", "models/{task}", grid(prompt_lookup_num_tokens=(10, 5, 3))
    ),
    "tascel": Contender("tascel", "models/{task}", grid(dtype=("bfloat16",)), bundle=True),
    "vllm": Contender("vllm", "models/{task}", grid(method=("none",))),
    "vllm-best": Contender(
        "vllm",
        "models/{task}",
        [
            {"method": "suffix"},
            # The best of six on held-out training prompts of snips, where ngram was no faster than
            # no drafts at all (results/vllm_speed_snips.json).
            {"method": "warmed", "num_speculative_tokens": 32, "max_tree_depth": 64,
             "max_spec_factor": 1.0, "min_token_prob": 0.3},
        ],
    ),
    "vllm-tascel": Contender(
        "vllm", "models/{task}", grid(method=("tascel",), num_speculative_tokens=(32,))
    ),
    # Not Q4_1: the base model was dequantised from it, and rounding to it again takes back part of
    # what fine-tuning changed.
    "llamacpp": Contender("llamacpp", "gguf/{task}-{form}.gguf", grid(form=("q8_0",))),
    "llamacpp-lookup": Contender(
        "llamacpp",
        "gguf/{task}-{form}.gguf",
        grid(form=("q8_0",), num_pred_tokens=(10, 4, 2), max_ngram_size=(2,)),
    ),
    "llamacpp-tascel": Contender(
        "llamacpp", "gguf/{task}-{form}.gguf", grid(form=("q8_0",)), bundle=True
    ),
    "genai": Contender(
        "genai", "genai/{task}-{form}", grid(form=("int8", "fp16"), backend=("PA", "SDPA"))
    ),
    "genai-lookup": Contender(
        "genai",
        "genai/{task}-{form}",
        grid(form=("int8", "fp16"), backend=("PA",), num_assistant_tokens=(5, 3, 10),
             max_ngram_size=(3,)),
    ),
    "openvino-fp16": Contender(
        "tascel", "openvino/{task}-{form}", grid(form=("fp16",), engine=("openvino",)), bundle=True
    ),
    "openvino-int8": Contender(
        "tascel", "openvino/{task}-{form}", grid(form=("int8",), engine=("openvino",)), bundle=True
    ),
}  # fmt: skip
