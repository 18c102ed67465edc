"""llama.cpp's server with the n-gram caches of a bundle: what it drafts, and whether that changes
answers.

    python benchmarks/lookup.py BUNDLE TRACES F.gguf --limit 40 --json results/lookup_TASK.json

Needs xllamacpp, a build of llama.cpp. Two servers, with the caches and without drafts, answer each
prompt before the next one; who begins changes from one to the next.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

from xllamacpp import CommonParams, Server, common_speculative_type

from tascel.bench.prompts import prompts
from tascel.bundle import Bundle
from tascel.plugins.llamacpp.vocabulary import check
from tascel.plugins.lookup import export


def serve(gguf: Path, caches: Path | None, threads: int) -> Server:
    settings = CommonParams()
    settings.model.path, settings.n_ctx, settings.port = str(gguf), 2048, 0
    settings.n_parallel, settings.cpuparams.n_threads = 1, threads
    if caches is not None:
        kind = common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_CACHE
        settings.speculative.types = [kind]
        settings.speculative.ngram_cache.lookup_cache_static = str(caches / "static.bin")
        settings.speculative.ngram_cache.lookup_cache_dynamic = str(caches / "dynamic.bin")
    return Server(settings)


def answer(server: Server, ids: list[int], most: int) -> dict:
    asked = {"prompt": ids, "n_predict": most, "temperature": 0, "return_tokens": True}
    body = json.dumps(asked | {"cache_prompt": False}).encode()
    with urlopen(Request(f"{server.listening_address}/completion", body)) as reply:
        found = json.load(reply)
    timings = found["timings"]
    return {
        "tokens": found["tokens"],
        "ms": timings["prompt_ms"] + timings["predicted_ms"],
        "drafted": timings.get("draft_n", 0),
        "accepted": timings.get("draft_n_accepted", 0),
    }


def measure(options: argparse.Namespace) -> dict:
    bundle = Bundle.open(options.bundle)
    check(bundle, options.gguf)
    rows = prompts(str(options.traces), "test", options.limit)
    ids = [bundle.codec.prompt(row.messages, row.tools).tolist() for row in rows]
    answers = {"plain": [], "caches": []}
    with TemporaryDirectory() as folder:
        export(bundle, Path(folder))
        servers = {
            "plain": serve(options.gguf, None, options.threads),
            "caches": serve(options.gguf, Path(folder), options.threads),
        }
        for at, prompt in enumerate(ids):
            for name in [*servers][:: 1 if at % 2 else -1]:
                answers[name].append(answer(servers[name], prompt, options.max_tokens))
    plain, caches = answers["plain"], answers["caches"]
    tokens = sum(len(one["tokens"]) for one in caches)
    return {
        "prompts": len(ids),
        "tokens": tokens,
        "drafted": sum(one["drafted"] for one in caches),
        "accepted": sum(one["accepted"] for one in caches),
        "same": sum(a["tokens"] == b["tokens"] for a, b in zip(plain, caches, strict=True)),
        "plain_ms": sum(one["ms"] for one in plain) / len(ids),
        "caches_ms": sum(one["ms"] for one in caches) / len(ids),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--limit", type=int, default=40, help="prompts of the split test")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
