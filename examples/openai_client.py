"""OpenAI's own client against `tascel serve`, which this starts and ends.

python examples/openai_client.py
python examples/openai_client.py --model org/model --traces mine.jsonl
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from given import Given, given
from openai import OpenAI


@contextmanager
def serving(mine: Given) -> Iterator[str]:
    """The address of a server of this model and its bundle, on any free port."""
    command = [sys.executable, "-m", "tascel", "serve", str(mine.built()), "--model", mine.model]
    command += ["--port", "0", *(["--adapter", mine.adapter] if mine.adapter else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            for line in server.stderr or ():
                print(line, end="", file=sys.stderr)
                if " at http://" in line:
                    yield line.split(" at ")[1].strip()
                    return
            sys.exit("the server did not start")
        finally:
            server.terminate()


def main() -> None:
    mine = given(__doc__)
    with serving(mine) as address, OpenAI(base_url=address, api_key="none") as client:
        asked = {"max_tokens": 64, "extra_body": {"tascel": {"stats": True}}}
        asked["model"] = client.models.list().data[0].id
        for trace in mine.held_out(5):
            (choice,) = client.chat.completions.create(messages=trace.messages, **asked).choices
            print(choice.message.content)
            print(f"   {choice.tascel['tokens']} tokens in {choice.tascel['steps']} passes")


if __name__ == "__main__":
    main()
