"""The process that measures what a pass costs in vLLM: `python passes.py FILE FLAGS…`, with flags
as `vllm serve` takes them.

It is run by its path and imports nothing of ours before the engine stands: on a CPU vLLM 0.32
cannot start a worker where numba was imported, and its processes import again what this one does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

Widths = Mapping[int, Sequence[int]]
#: Tokens of each row's pass, by rows, of which all but one are drafted. How often each is measured.
WIDTHS: Widths = {1: (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)} | {
    n: (1, 2, 4, 8, 16) for n in (4, 8, 16)
}
ROUNDS = 4
#: Passes of one measurement. The first ones still read prompts.
PASSES, FIRST = 14, 3
#: What the flags call the proposer, and where in `additional_config` it finds its file.
PROBE, KEY = "tascel.plugins.vllm.probe.Probe", "tascel_probe"


def main(file: Path, flags: Sequence[str]) -> None:
    """Measure in the vLLM that `flags` describe, and write `{"setting": …, "ms": …}` to `file`."""
    arguments: Any = import_module("vllm.engine.arg_utils").EngineArgs
    parser: Any = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    noted = file.with_suffix(".setting")
    most = max(max(widths) for widths in WIDTHS.values()) - 1
    speculation = {
        "method": "custom_class",
        "model": PROBE,
        "num_speculative_tokens": most,
    }
    own = ["--speculative-config", json.dumps(speculation)]
    own += ["--additional-config", json.dumps({KEY: str(noted)})]
    parsed = arguments.add_cli_args(parser).parse_args([*flags, *own])
    engine: Any = import_module("vllm.v1.engine.llm_engine").LLMEngine.from_engine_args(
        arguments.from_cli_args(parsed)
    )
    from tascel.engines.profile import CONTEXT

    least = CONTEXT + PASSES + most + 1  # near the end vLLM asks for no drafts
    if engine.model_config.max_model_len < least:
        raise SystemExit(f"Measuring needs a --max-model-len of at least {least}")
    points = measure_all(engine, fitting(engine.vllm_config.scheduler_config.max_num_seqs))
    setting = json.loads(noted.read_text(encoding="utf-8"))
    file.write_text(json.dumps({"setting": setting, "ms": points}), encoding="utf-8")


def fitting(most: int) -> Widths:
    """What can be measured where a pass has at most so many rows."""
    return {rows: widths for rows, widths in WIDTHS.items() if rows <= most}


def measure_all(engine: Any, widths: Widths) -> dict[int, dict[int, float]]:
    """Least milliseconds of a pass by its rows and, of all rows together, tokens; measured again
    where something else was running."""
    from tascel.engines.profile import AGAIN, disturbed

    found = measure(engine, widths)
    for _ in range(AGAIN):
        if not any(disturbed(points) for points in found.values()):
            break
        more = measure(engine, widths)
        found = {
            rows: {tokens: min(ms, more[rows][tokens]) for tokens, ms in points.items()}
            for rows, points in found.items()
        }
    return found


def measure(engine: Any, widths: Widths) -> dict[int, dict[int, float]]:
    """The same once, interleaved over widths."""
    found: dict[int, dict[int, float]] = {rows: {} for rows in widths}
    for _ in range(ROUNDS):
        for rows, some in widths.items():
            for width in some:
                ms = pass_ms(engine, rows, width)
                found[rows][rows * width] = min(ms, found[rows].get(rows * width, ms))
    return found


def pass_ms(engine: Any, rows: int, width: int) -> float:
    """Milliseconds between two passes' answers, of `rows` rows with `width` tokens each."""
    from tascel.engines.profile import CONTEXT

    sampling: Any = import_module("vllm").SamplingParams
    params = sampling(temperature=0.0, max_tokens=PASSES, ignore_eos=True, detokenize=False)
    vocab: int = engine.model_config.get_vocab_size()
    for row in range(rows):
        filler = [(i * 7919 + row) % vocab for i in range(1, CONTEXT)]
        prompt = {"prompt_token_ids": [width - 1, *filler]}
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
