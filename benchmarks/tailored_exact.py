"""Are the answers under a lossless head those of the full one?

    python benchmarks/tailored_exact.py BUNDLE TRACES --model M [--adapter A] --json FILE

`--prompts` of the split `test`, in a fixed random order, are answered in float32, greedily and
sampled with a seed each, in batches: by the full head without drafts, and losslessly with drafts
and without.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tailored import Setup, answer_all, arguments, shuffled, undrafted

from tascel.bench.verify import difference as apart
from tascel.types import Sampling, Trace

SAMPLED = Sampling(temperature=0.8, top_p=0.95, min_p=0.02)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    args = parser.parse_args()
    setup = Setup(args.bundle, args.model, args.adapter, args.max_tokens, "float32")
    report = {
        "task": args.traces.stem,
        "runs": equality(setup, shuffled(args.traces)[: args.prompts]),
    }
    print(json.dumps(report, indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def equality(setup: Setup, traces: Sequence[Trace]) -> list[dict[str, Any]]:
    """Lossless beside full in float32, by sampling and drafts; with how far apart the two tokens
    were where an answer differs."""
    full, lossless = (setup.load(head, drafts=True) for head in ("full", "lossless"))
    found: list[dict[str, Any]] = []
    for name, sampling in (("greedy", Sampling()), ("sampled", SAMPLED)):
        asked = setup.requests(full, traces, sampling)
        wanted = answer_all(undrafted(full), asked)
        for drafts in (False, True):
            given = answer_all(lossless if drafts else undrafted(lossless), asked)
            gaps = [
                apart(full, request, "full", one.tokens, other.tokens).gap
                for request, one, other in zip(asked, given, wanted, strict=True)
                if one.tokens != other.tokens
            ]
            offered = sum(done.stats.offered.get("head", 0) for done in given)
            accepted = sum(done.stats.accepted.get("head", 0) for done in given)
            found.append(
                {
                    "sampling": name,
                    "drafts": drafts,
                    "prompts": len(asked),
                    "tokens": sum(len(done.tokens) for done in given),
                    "differ": len(gaps),
                    "gaps": gaps,
                    "ahead": offered,
                    "rolled_back": (offered - accepted) / max(1, offered),
                }
            )
    return found


if __name__ == "__main__":
    main()
