"""Does the Rényi-2 entropy of a task's outputs foretell how long an answer takes?

    python benchmarks/predictor.py TRACES... --model M --json FILE

The paper's claim (TASC, arXiv 2602.24174, section 5): the entropy of the training outputs' tokens,
known before any training, rises as answers get faster, Kendall's tau -0.96. Here for each task and
n_max: known answers of a held-out fold of `train` are written token by token, as a model would that
answers right, with a head of as many rows. Settings take turns. No model is trained.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.progress import track
from scipy.stats import kendalltau
from transformers import AutoTokenizer, DynamicCache

from tascel.adapt.tokens.curve import numbered, renyi2
from tascel.adapt.tokens.mining import MiningConfig, mine
from tascel.adapt.tokens.rows import add
from tascel.adapt.tokens.vocabulary import Vocabulary
from tascel.codec import Codec
from tascel.engines.hf.load import load_model
from tascel.token_bytes import TokenBytes
from tascel.traces.folds import folds, groups
from tascel.traces.read import read_traces
from tascel.types import Ids

SIZES = (0, 50, 100, 250, 500, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    codec = Codec.from_pretrained(args.model)
    vocabulary = Vocabulary(AutoTokenizer.from_pretrained(args.model))
    models = {size: widened(args.model, size, codec) for size in SIZES}
    report = []
    for path in args.traces:
        traces = [t for t in read_traces(path) if t.split in (None, "train")]
        held_out = folds(groups(traces), 5) == 0
        outputs = [ids for _, ids in codec.answers(traces)]
        kept = [ids for ids, out in zip(outputs, held_out, strict=True) if not out]
        rest = [i for i, out in enumerate(held_out) if out]
        chosen = random.Random(0).sample(rest, args.answers)
        asked = [(codec.prompt(traces[i].messages), outputs[i]) for i in chosen]
        for n_max in (2, 4):
            config = MiningConfig(size=max(SIZES), n_max=n_max)
            never = {*codec.eos_ids, *codec.tokenizer.get_added_tokens_decoder()}
            runs = mine(kept, config, TokenBytes(codec.tokenizer), vocabulary.refuse, never).runs
            new = {size: numbered(runs[:size], codec.vocab_size) for size in SIZES}
            entropy = {size: renyi2(new[size].shorten(np.concatenate(kept))) for size in SIZES}
            written = {size: [(p, new[size].shorten(o)) for p, o in asked] for size in SIZES}
            times = measure(models, written, args.repeats, f"{path.stem}, n_max {n_max}")
            tau = kendalltau([entropy[s] for s in SIZES], [times[s] for s in SIZES]).statistic
            tokens = {size: mean(len(o) for _, o in written[size]) for size in SIZES}
            settings = [
                {"rows": s, "renyi2": entropy[s], "tokens": tokens[s], "ms": times[s]}
                for s in SIZES
            ]
            report.append({"task": path.stem, "n_max": n_max, "tau": tau, "settings": settings})
            print(json.dumps(report[-1], indent=2))
    print("mean tau", mean(r["tau"] for r in report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def widened(model: str, size: int, codec: Codec) -> Any:
    """A model with rows for `size` new tokens; what they hold does not matter here."""
    runs = [(at, at + 1) for at in range(size)]
    wide = load_model(model, dtype="bfloat16")
    add(wide, numbered(runs, codec.vocab_size))
    return wide


def measure(
    models: dict[int, Any],
    written: dict[int, list[tuple[Ids, Ids]]],
    repeats: int,
    label: str,
) -> dict[int, float]:
    """Milliseconds an answer: for each answer the median of its repeats, then the mean."""
    took: dict[int, list[list[float]]] = {size: [] for size in models}
    write(models[0], *written[0][0])
    for at in track(range(len(written[0])), label):
        for size in models:
            took[size].append([])
        for _ in range(repeats):
            for size, model in models.items():
                took[size][-1].append(write(model, *written[size][at]))
    return {size: 1000 * mean(median(answer) for answer in took[size]) for size in models}


@torch.inference_mode()
def write(model: Any, prompt: Ids, answer: Ids) -> float:
    """Seconds to read a prompt and write a known answer, a token a pass."""
    cache = DynamicCache()
    started = perf_counter()
    given = prompt
    for token in answer.tolist():
        ids = torch.tensor(np.asarray(given)[None], dtype=torch.long)
        model(ids, past_key_values=cache, logits_to_keep=1).logits.argmax(-1).item()
        given = [token]
    return perf_counter() - started


if __name__ == "__main__":
    main()
