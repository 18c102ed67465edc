"""One model for several tasks: what each task's adapter changes, added up on one base.

    python benchmarks/added_adapters.py MODEL ADAPTER ADAPTER… -o DIR

The changes get in each other's way; `tascel finetune` on all tasks' traces (80 steps were enough
for two) mends that. The model of results/neural_mixed.json was made so.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tascel.codec import Codec
from tascel.engines.hf.load import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("adapters", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    base, total = (load_model(args.model, dtype="float32", device="cpu") for _ in range(2))
    with torch.no_grad():
        for adapter in args.adapters:
            tuned = load_model(args.model, adapter, dtype="float32", device="cpu")
            both = zip(tuned.parameters(), base.parameters(), strict=True)
            for weight, (new, old) in zip(total.parameters(), both, strict=True):
                weight += new - old
    total.to(torch.bfloat16).config._name_or_path = ""
    total.save_pretrained(args.output)
    Codec.from_pretrained(args.model).save(args.output)


if __name__ == "__main__":
    main()
