"""A runner that learns from what it answers: what it is asked again costs few passes.

python examples/learn_online.py
python examples/learn_online.py --model org/model --traces mine.jsonl

The bundle starts from ten exchanges, so that there is something left to learn.
"""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from given import given

import tascel
from tascel.traces.read import read_traces


def main() -> None:
    mine = given(__doc__)
    questions = [trace.messages for trace in mine.held_out(8)]
    with TemporaryDirectory() as folder:
        few = Path(folder) / "bundle"
        first = islice((t for t in read_traces(mine.traces) if t.split in (None, "train")), 10)
        tascel.build(first, mine.model, few, adapter=mine.adapter)
        with tascel.load(few, model=mine.model, adapter=mine.adapter, learn=True) as runner:
            for time in ("first", "second", "third"):
                answers = [runner.generate(asked, max_tokens=64) for asked in questions]
                tokens = sum(len(answer.tokens) for answer in answers)
                passes = sum(answer.stats.steps for answer in answers)
                print(f"asked the {time} time: {tokens} tokens in {passes} passes")


if __name__ == "__main__":
    main()
