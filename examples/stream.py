"""Learn a task from past exchanges, then answer, every token coloured by who drafted it.

python examples/stream.py
python examples/stream.py --model org/model --traces mine.jsonl
"""

from given import given
from rich.text import Text

import tascel
from tascel.cli.console import COLOURS, legend, out


def main() -> None:
    mine = given(__doc__)
    bundle = mine.built()  # tascel.build(traces, model, bundle)
    with tascel.load(bundle, model=mine.model, adapter=mine.adapter) as runner:
        for trace in mine.held_out(5):
            out.print(f"\n{trace.prompt_text.splitlines()[-1]}", style="dim", markup=False)
            passes = 0
            for chunk in runner.stream(trace.messages, max_tokens=64):
                out.print(Text(chunk.text, COLOURS[chunk.source]), end="")
                passes = chunk.step + 1  # the first is the prompt's own
            out.print(f"   {passes} passes", style="dim")
    out.print("\n", legend())


if __name__ == "__main__":
    main()
