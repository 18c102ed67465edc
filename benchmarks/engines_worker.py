"""One contender of `engines.py`, in a process and an environment of its own.

    python benchmarks/engines_worker.py '{"kind": "llamacpp", "model": "F.gguf", …}'

Ids in, ids out: for each line `{"ids": […], "most": N}` on standard input one line `{"ids": […],
"seconds": S}` on standard output, greedily, one at a time, nothing kept of one prompt for the next
but what a contender learns from its answers. The first line out says that the model is loaded.
Only the chosen contender's packages are imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

Answer = Callable[[list[int], int], list[int]]


def transformers(job: dict[str, Any]) -> Answer:
    """Stock `generate`; the settings are its own."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    lm: Any = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16)

    def answer(ids: list[int], most: int) -> list[int]:
        given = torch.tensor([ids])
        output = lm.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=job["eos"],
            pad_token_id=job["eos"][0],
            **job["settings"],
        )
        return output[0, len(ids) :].tolist()

    return answer


def tascel(job: dict[str, Any]) -> Answer:
    """Our loop, under PyTorch or OpenVINO."""
    import numpy as np

    from tascel.decode.loop import complete
    from tascel.loading import load
    from tascel.types import Request

    runner = load(job["bundle"], model=job["model"], **job["settings"])
    runner.engine.prefixes = False

    def answer(ids: list[int], most: int) -> list[int]:
        request = Request("asked", np.array(ids, np.int32), max_tokens=most)
        return list(complete(runner.run(request)).tokens)

    return answer


def llamacpp(job: dict[str, Any]) -> Answer:
    """llama-cpp-python without drafts, with its prompt lookup, or with a bundle's draft."""
    from llama_cpp import Llama
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    options: dict[str, Any] = {
        "n_ctx": job["context"],
        "n_threads": job["threads"],
        "n_threads_batch": job["threads"],
        "verbose": False,
    }
    if "bundle" in job:
        from tascel.plugins.llamacpp import open_llama

        llama: Any = open_llama(job["model"], job["bundle"], **job["settings"], **options)
    else:
        lookup = LlamaPromptLookupDecoding(**job["settings"]) if job["settings"] else None
        llama = Llama(job["model"], draft_model=lookup, **options)
    ends = set(job["eos"])

    def answer(ids: list[int], most: int) -> list[int]:
        llama.reset()
        said: list[int] = []
        for id_ in llama.generate(ids, temp=0.0):
            said.append(int(id_))
            if id_ in ends or len(said) == most:
                break
        return said

    return answer


def genai(job: dict[str, Any]) -> Answer:
    """OpenVINO GenAI's pipeline, greedy or with its prompt lookup."""
    import numpy as np
    import openvino
    import openvino_genai

    settings = dict(job["settings"])
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": job["threads"]}
    options["ATTENTION_BACKEND"] = settings.pop("backend")
    if options["ATTENTION_BACKEND"] == "PA":
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_seqs = 1
        scheduler.num_kv_blocks = 0
        scheduler.cache_size = 1  # GB
        options["scheduler_config"] = scheduler
    if settings:
        options["prompt_lookup"] = True
    pipeline: Any = openvino_genai.LLMPipeline(job["model"], "CPU", **options)
    config = openvino_genai.GenerationConfig()
    config.do_sample = False
    config.stop_token_ids = set(job["eos"])
    for name, value in settings.items():
        setattr(config, name, value)

    def answer(ids: list[int], most: int) -> list[int]:
        config.max_new_tokens = most
        return list(pipeline.generate(openvino.Tensor(np.array([ids], np.int64)), config).tokens[0])

    return answer


def vllm(job: dict[str, Any]) -> Answer:
    """vLLM on a CPU; its speculation is told by the one who asks."""
    from vllm import LLM, SamplingParams

    llm = LLM(job["model"], **job["settings"])

    def answer(ids: list[int], most: int) -> list[int]:
        params = SamplingParams(temperature=0, max_tokens=most, detokenize=False)
        asked: Any = [{"prompt_token_ids": ids}]
        return list(llm.generate(asked, params, use_tqdm=False)[0].outputs[0].token_ids)

    return answer


KINDS: dict[str, Callable[[dict[str, Any]], Answer]] = {
    kind.__name__: kind for kind in (transformers, tascel, llamacpp, genai, vllm)
}


def main() -> None:
    # Nothing but our lines may reach the standard output: engines like to print.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job: dict[str, Any] = json.loads(sys.argv[1])
    answer = KINDS[job["kind"]](job)
    print(json.dumps({"ready": True}), file=out)
    for line in sys.stdin:
        asked = json.loads(line)
        started = perf_counter()
        ids = answer(asked["ids"], asked["most"])
        seconds = perf_counter() - started
        print(json.dumps({"ids": [int(id_) for id_ in ids], "seconds": seconds}), file=out)


if __name__ == "__main__":
    main()
