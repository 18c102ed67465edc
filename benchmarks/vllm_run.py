"""One run of vLLM in a process of its own: requests in fixed order, so many at a time.

    python benchmarks/vllm_run.py JOB.json RUN.json

Knows vLLM and nothing of contenders: `vllm_speed.py` writes the job. A new request is asked as soon
as one has ended. Of each request, in the order they ended, the run says: which, when after the
start, how many tokens, and their checksum.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np

#: Answers of so many tokens to prompts of as many ids warm vLLM up; none of them tells of the task.
WARM = 16


def main() -> None:
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    job = json.loads(Path(sys.argv[1]).read_text())
    started = perf_counter()
    llm = LLM(job["model"], disable_log_stats=False, **job["engine"])
    loaded = perf_counter() - started

    def params(max_tokens: int, **more: Any) -> SamplingParams:
        kind = RequestOutputKind.FINAL_ONLY
        return SamplingParams(temperature=0, max_tokens=max_tokens, output_kind=kind, **more)

    rows: int = job["concurrency"]
    noise = np.random.default_rng(0).integers(100, 1000, (2 * rows, WARM)).tolist()
    answer(llm.llm_engine, noise, rows, params(WARM, ignore_eos=True))
    before = counters(llm)
    requests = answer(llm.llm_engine, job["prompts"], rows, params(job["max_tokens"]))
    after = counters(llm)
    run = {
        "loaded_seconds": round(loaded, 1),
        "requests": requests,
        "counters": {name: after[name] - before.get(name, 0) for name in after},
    }
    Path(sys.argv[2]).write_text(json.dumps(run))


def answer(engine: Any, prompts: list[list[int]], rows: int, params: Any) -> list[list[Any]]:
    """[request, seconds, tokens, checksum] of each request as it ended."""
    coming, running = iter(enumerate(prompts)), 0
    ended: list[list[Any]] = []
    started = perf_counter()
    while len(ended) < len(prompts):
        while running < rows and (one := next(coming, None)) is not None:
            engine.add_request(str(one[0]), {"prompt_token_ids": one[1]}, params)
            running += 1
        for output in engine.step():
            if output.finished:
                running -= 1
                ids = np.array(output.outputs[0].token_ids, np.int32)
                seconds = round(perf_counter() - started, 4)
                ended.append([int(output.request_id), seconds, len(ids), crc32(ids.tobytes())])
    return ended


def counters(llm: Any) -> dict[str, int]:
    """What vLLM counts of drafts."""
    return {
        metric.name.removeprefix("vllm:spec_decode_"): int(metric.value)
        for metric in llm.get_metrics()
        if metric.name.startswith("vllm:spec_decode") and hasattr(metric, "value")
    }


if __name__ == "__main__":
    main()
