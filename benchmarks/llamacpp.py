"""llama-cpp-python on one task: without drafts, with its own prompt lookup, and with tascel's.

    python benchmarks/llamacpp.py BUNDLE TRACES F.gguf --limit 40 --json results/llamacpp_TASK.json

Everybody answers a prompt before the next one; who begins changes from one to the next. `stock` is
`Llama` as it comes; `lookup` its `LlamaPromptLookupDecoding`, which needs `logits_all`; `detour` is
our draft in that stock class, so with the logits of all prompts; `fixed` always drafts 10 tokens;
`tascel` is `open_llama` with its draft attached, and `decided` says whether it would have been.
Greedy, so answers must be equal but for rounding: where they are not, `gap` says how near the two
first tokens that differ were, in logits of passes of one token. Threads of llama.cpp wait busily:
run on an idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from tascel.bench.bootstrap import interval
from tascel.bench.prompts import prompts
from tascel.bundle import Bundle
from tascel.draft.ngram import DraftConfig
from tascel.plugins.llamacpp import LlamaDraft, open_llama, open_plain, price_of, setting_of
from tascel.plugins.llamacpp.worth import kept_worth

CONTENDERS = ("stock", "lookup", "detour", "fixed", "tascel")
OURS = DraftConfig(trees=False)
FIXED = DraftConfig(priced=False, most=10, trees=False)


@dataclass
class Answers:
    """What one contender wrote, and how long it took: all of it, and until the first token."""

    ids: list[list[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def add(self, llama: Any, prompt: Sequence[int], ends: frozenset[int], most: int) -> None:
        written: list[int] = []
        started = perf_counter()
        for token in llama.generate(list(prompt), temp=0.0):
            if not written:
                self.first.append(perf_counter() - started)
            written.append(token)
            if token in ends or len(written) == most:
                break
        self.seconds.append(perf_counter() - started)
        self.ids.append(written)


def contenders(gguf: Path, bundle: Bundle, names: Sequence[str], how: Mapping[str, Any]) -> Any:
    """The models by name."""
    stock: Callable[..., Any] = llama_cpp.Llama
    plain = open_plain(gguf, **how)
    price = price_of(plain, setting_of(gguf, plain, how))
    whole = how | {"logits_all": True, "verbose": False}

    def detour() -> Any:
        llama = stock(str(gguf), **whole)
        draft = bundle.draft(OURS)
        llama.draft_model = LlamaDraft(draft, price, llama.n_vocab(), llama.n_ctx())
        return llama

    made = {
        "stock": lambda: stock(str(gguf), verbose=False, **how),
        "lookup": lambda: stock(str(gguf), draft_model=LlamaPromptLookupDecoding(), **whole),
        "detour": detour,
        "fixed": lambda: open_llama(gguf, bundle, config=FIXED, attach=True, **how),
        "tascel": lambda: open_llama(gguf, bundle, attach=True, **how),
    }
    return price, {name: made[name]() for name in names}


def gap(llama: Any, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]) -> float:
    """How far the two first tokens that differ lie apart in the logits behind what is shared."""
    pairs = zip(one, other, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)) - 1)
    llama.reset()
    llama.eval(list(prompt))
    for token in one[:at]:
        llama.eval([token])
    logits = np.ctypeslib.as_array(llama._ctx.get_logits_ith(-1), (llama.n_vocab(),))
    return float(abs(logits[one[at]] - logits[other[at]]))


def row(name: str, own: Answers, stock: Answers, plain: Any, asked: Sequence[Any]) -> Any:
    """One contender's numbers beside those of no drafts."""
    tokens = sum(map(len, own.ids))
    differ = [i for i, (a, b) in enumerate(zip(own.ids, stock.ids, strict=True)) if a != b]
    return {
        "name": name,
        "tokens_per_second": tokens / sum(own.seconds),
        "ms_per_answer": 1000 * sum(own.seconds) / len(own.ids),
        "ms_median": 1000 * float(np.median(own.seconds)),
        "ms_first_token": 1000 * float(np.median(own.first)),
        "over_stock": sum(stock.seconds) / sum(own.seconds),
        "interval": [*interval(stock.seconds, own.seconds)],
        "same": len(own.ids) - len(differ),
        "gaps": [round(gap(plain, asked[i], stock.ids[i], own.ids[i]), 5) for i in differ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    names = ["stock", *(name for name in args.contenders.split(",") if name != "stock")]
    bundle = Bundle.open(args.bundle)
    codec, ends = bundle.codec, frozenset(bundle.manifest.eos_ids)
    how = {"n_ctx": args.n_ctx, "n_threads": args.threads, "n_threads_batch": args.threads}
    price, llamas = contenders(args.gguf, bundle, names, how)
    traces = prompts(str(args.traces), args.split, args.limit)
    asked = [codec.prompt(trace.messages, trace.tools).tolist() for trace in traces]
    answers = {name: Answers() for name in names}
    for name in names:  # nobody's first answer counts
        Answers().add(llamas[name], asked[0], ends, args.max_tokens)
        llamas[name].reset()
    for at, prompt in enumerate(asked):
        for turn in range(len(names)):
            name = names[(at + turn) % len(names)]
            answers[name].add(llamas[name], prompt, ends, args.max_tokens)
            llamas[name].reset()
    plain = open_plain(args.gguf, **how)
    found = kept_worth(bundle, price, OURS)
    report = {
        "bundle": args.bundle.name,
        "gguf": args.gguf.name,
        "setting": asdict(setting_of(args.gguf, plain, how)),
        "ms_by_width": {w: round(float(price.curve(w, 0)[0]), 3) for w in (1, 2, 4, 8, 16, 32)},
        "answers": len(asked),
        "worth": asdict(found) | {"attached": found.pays},
        "contenders": [row(n, answers[n], answers["stock"], plain, asked) for n in names],
    }
    draft = llamas["tascel"].draft_model if "tascel" in names else None
    if draft is not None:
        report["draft"] = {n: getattr(draft, n) for n in ("calls", "checked", "accepted")}
    args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
