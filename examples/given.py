"""What an example works on: your model and traces, or the demo's, fetched once (98 MB)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tascel
from tascel.cli.console import progress
from tascel.demo.run import Demo
from tascel.traces.read import read_traces


@dataclass(frozen=True)
class Given:
    """A model, an adapter on top of it or None, a file of traces, and where its bundle lies."""

    model: str
    adapter: str | None
    traces: Path
    bundle: Path

    def built(self) -> Path:
        """The bundle's folder, built first where it is not there yet: seconds to a minute."""
        if not self.bundle.exists():
            with progress() as show:
                tascel.build(
                    self.traces, self.model, self.bundle, adapter=self.adapter, progress=show
                )
        return self.bundle

    def held_out(self, count: int) -> list[tascel.Trace]:
        """The first exchanges that `build` leaves out, or any if it takes all."""
        others = (trace for trace in read_traces(self.traces) if trace.split not in (None, "train"))
        return list(islice(others, count)) or list(islice(read_traces(self.traces), count))


def given(about: str | None) -> Given:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="Hugging Face id or folder; default: the demo's")
    parser.add_argument("--adapter", help="a PEFT folder on top of it")
    parser.add_argument("--traces", type=Path, help="past exchanges; default: the demo's")
    parser.add_argument("--bundle", type=Path, help="default: build/examples/NAME-OF-TRACES")
    asked = parser.parse_args()
    if (asked.model is None) != (asked.traces is None):
        parser.error("give --model and --traces, or neither")
    model, adapter, traces = asked.model, asked.adapter, asked.traces
    if model is None:
        with progress() as show:
            demo = Demo(show, print)
            demo.prepare()
        model, adapter, traces = str(demo.model), str(demo.adapter), demo.traces
    return Given(model, adapter, traces, asked.bundle or Path("build/examples") / traces.stem)
