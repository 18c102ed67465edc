"""Would drafts pay for a task? Asked of its past answers, before any model runs.

python examples/would_it_pay.py
python examples/would_it_pay.py --model org/model --traces mine.jsonl

Only the model's tokenizer is read. What a pass costs is a typical price unless a file of
`tascel profile` is given (`price=`).
"""

from given import given

import tascel


def main() -> None:
    mine = given(__doc__)
    split = mine.held_out(1)[0].split or "train"
    found = tascel.replay(mine.built(), mine.traces, ["prompt-lookup"], split=split, limit=100)
    print(f"{found['examples']} answers of {split}, {found['tokens']:,} tokens to draft")
    for draft in found["drafts"]:
        print(
            f"{draft['name']:14} {draft['speedup_estimate']:5.2f} times as fast, "
            f"{draft['tokens_per_step']:5.2f} tokens a pass"
        )
    ours = found["drafts"][-1]
    best = max(ours["accepted_by_source"].items(), key=lambda item: item[1], default=("none", 0.0))
    print(f"most accepted tokens come from {best[0]}: {best[1]:.0%} of all")
    if ours["speedup_estimate"] < 1.05:
        print("That is not worth it: see `tascel advise` for what else would help.")


if __name__ == "__main__":
    main()
