"""What a pass costs in vLLM, measured from inside: a proposer that offers chains of a wanted length
to requests that never end early, and who asks them.

Run as a module it is the process that measures: `python -m tascel.plugins.vllm.probe FILE FLAGS…`,
with flags as `vllm serve` takes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tascel.engines.profile import AGAIN, CONTEXT, disturbed
from tascel.plugins.vllm.setting import setting_of

#: Tokens of each row's pass, by rows, of which all but one are drafted. How often each is measured.
WIDTHS = {1: (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)} | {n: (1, 2, 4, 8, 16) for n in (4, 8, 16)}
ROUNDS = 4
#: Passes of one measurement. The first ones still read prompts.
PASSES, FIRST = 14, 3
#: Where in `additional_config` the probe is told the file to write its setting to.
KEY = "tascel_probe"


class Probe:
    """Offers each row as many tokens as the first id of its prompt says. The first rank notes what
    it runs in."""

    def __init__(self, vllm_config: Any) -> None:
        self._vocab: int = vllm_config.model_config.get_vocab_size()
        if vllm_config.parallel_config.rank == 0:
            file = Path(vllm_config.additional_config[KEY])
            file.write_text(json.dumps(asdict(setting_of(vllm_config))), encoding="utf-8")

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: no model drafts."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: NDArray[np.int32],
        token_ids_cpu: NDArray[np.int32],
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """Ids that are hardly ever right."""
        wanted: list[int] = token_ids_cpu[: len(sampled_token_ids), 0].tolist()
        return [
            [(11 * i + 7) % self._vocab for i in range(count)] if sampled else []
            for sampled, count in zip(sampled_token_ids, wanted, strict=True)
        ]


def main(file: Path, flags: Sequence[str]) -> None:
    """Measure in the vLLM that `flags` describe, and write `{"setting": …, "ms": …}` to `file`."""
    arguments: Any = import_module("vllm.engine.arg_utils").EngineArgs
    parser: Any = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    noted = file.with_suffix(".setting")
    most = max(max(widths) for widths in WIDTHS.values()) - 1
    speculation = {
        "method": "custom_class",
        "model": f"{__spec__.name}.{Probe.__name__}",
        "num_speculative_tokens": most,
    }
    own = ["--speculative-config", json.dumps(speculation)]
    own += ["--additional-config", json.dumps({KEY: str(noted)})]
    parsed = arguments.add_cli_args(parser).parse_args([*flags, *own])
    engine: Any = import_module("vllm.v1.engine.llm_engine").LLMEngine.from_engine_args(
        arguments.from_cli_args(parsed)
    )
    least = CONTEXT + PASSES + most + 1  # near the end vLLM asks for no drafts
    if engine.model_config.max_model_len < least:
        raise SystemExit(f"Measuring needs a --max-model-len of at least {least}")
    points = measure_all(engine)
    setting = json.loads(noted.read_text(encoding="utf-8"))
    file.write_text(json.dumps({"setting": setting, "ms": points}), encoding="utf-8")


def measure_all(engine: Any) -> dict[int, dict[int, float]]:
    """Least milliseconds of a pass by its rows and, of all rows together, tokens; measured again
    where something else was running."""
    found = measure(engine)
    for _ in range(AGAIN):
        if not any(disturbed(points) for points in found.values()):
            break
        more = measure(engine)
        found = {
            rows: {tokens: min(ms, more[rows][tokens]) for tokens, ms in points.items()}
            for rows, points in found.items()
        }
    return found


def measure(engine: Any) -> dict[int, dict[int, float]]:
    """The same once, interleaved over widths."""
    found: dict[int, dict[int, float]] = {rows: {} for rows in WIDTHS}
    for _ in range(ROUNDS):
        for rows, widths in WIDTHS.items():
            for width in widths:
                ms = pass_ms(engine, rows, width)
                found[rows][rows * width] = min(ms, found[rows].get(rows * width, ms))
    return found


def pass_ms(engine: Any, rows: int, width: int) -> float:
    """Milliseconds between two passes' answers, of `rows` rows with `width` tokens each."""
    sampling: Any = import_module("vllm").SamplingParams
    params = sampling(temperature=0.0, max_tokens=PASSES, ignore_eos=True, detokenize=False)
    vocab: int = engine.model_config.get_vocab_size()
    for row in range(rows):
        filler = (np.arange(1, CONTEXT) * 7919 + row) % vocab
        prompt = {"prompt_token_ids": [width - 1, *filler.tolist()]}
        engine.add_request(f"{rows} rows, {width} tokens, row {row}", prompt, params)
    took: list[float] = []
    before, full = perf_counter(), False
    while engine.has_unfinished_requests():
        answered = len(engine.step()) == rows
        now = perf_counter()
        if answered and full:  # in this pass and the one before
            took.append(1000 * (now - before))
        before, full = now, answered
    # The median, since an answer that was fetched late lets the next one seem early.
    return median(took[min(FIRST, len(took) - 1) :])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
