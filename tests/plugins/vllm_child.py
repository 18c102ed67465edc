"""One vLLM in a process of its own: answers batches of prompts, says what it did.

    python vllm_child.py JOB.json ANSWERS.json

The job has the `engine`'s arguments and `batches`, each with `prompts` (ids), their `params` and
maybe a JSON `schema`. Counts which requests the proposer has opened.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that the proposer's rows can be counted


def main():
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    job = json.loads(Path(sys.argv[1]).read_text())
    llm = LLM(disable_log_stats=False, **job["engine"])

    # not before: on a CPU vLLM 0.32 trips over numba where that is imported when a worker starts
    from tascel.plugins.rows import Rows

    opened, new = [], Rows._new
    Rows._new = lambda self, held, start: opened.append(start) or new(self, held, start)
    found = []
    for batch in job["batches"]:
        schema = batch.get("schema")
        structured = {"structured_outputs": StructuredOutputsParams(json=schema)} if schema else {}
        before = counters(llm)
        opened.clear()
        outputs = llm.generate(
            [{"prompt_token_ids": ids} for ids in batch["prompts"]],
            SamplingParams(**batch["params"], **structured),
        )
        after = counters(llm)
        found.append(
            {
                "answers": [[list(o.token_ids) for o in output.outputs] for output in outputs],
                "texts": [[o.text for o in output.outputs] for output in outputs],
                "opened": len(opened),
                "counters": {name: after[name] - before.get(name, 0) for name in after},
            }
        )
    Path(sys.argv[2]).write_text(json.dumps(found))


def counters(llm):
    """vLLM's own, of drafts and preemptions."""
    return {
        metric.name.removeprefix("vllm:"): int(metric.value)
        for metric in llm.get_metrics()
        if hasattr(metric, "value") and ("spec_decode" in metric.name or "preempt" in metric.name)
    }


if __name__ == "__main__":
    main()
