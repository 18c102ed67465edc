"""Makes what `engines.py` asks for in FOLDER from models/TASK, merged folders of Hugging Face.

    python benchmarks/engines_files.py FOLDER home_assistant=TRACES … --optimum build/genai/bin

What is there already is left alone. `--optimum` is where optimum-intel's `optimum-cli` is: what
OpenVINO GenAI runs is exported by OpenVINO's own tools, not by ours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TASCEL = (sys.executable, "-m", "tascel")
FORMS = ("fp16", "int8")
#: llama.cpp's names of what a float32 GGUF is quantised to.
QUANTISED = {"q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("traces", nargs="+", metavar="TASK=TRACES")
    parser.add_argument("--optimum", type=Path, help="the folder of optimum-cli")
    args = parser.parse_args()
    for name in ("bundles", "openvino", "genai", "gguf"):
        (args.folder / name).mkdir(exist_ok=True)
    for pair in args.traces:
        task, _, traces = pair.partition("=")
        make(args.folder, task, traces, args.optimum)


def make(folder: Path, task: str, traces: str, optimum: Path | None) -> None:
    """All of one task."""
    model, bundle = (folder / "models" / task).resolve(), folder / "bundles" / task
    run(bundle, [*TASCEL, "build", traces, "--model", model, "-o", bundle])
    for form in FORMS:
        ours, theirs = (folder / name / f"{task}-{form}" for name in ("openvino", "genai"))
        export = ["export", bundle, "--model", model, "--to", "openvino", "--weights", form]
        run(ours, [*TASCEL, *export, "-o", ours])
        if optimum:
            cli = [optimum / "optimum-cli", "export", "openvino", "-m", model]
            kind = ["--task", "text-generation-with-past", "--weight-format", form]
            run(theirs, [*cli, *kind, theirs])
    whole = folder / "gguf" / f"{task}-f32.gguf"
    run(whole, [sys.executable, HERE / "to_gguf.py", model, whole])
    for name, kind in QUANTISED.items():
        quantise(whole, whole.with_name(f"{task}-{name}.gguf"), kind)


def run(made: Path, command: Sequence[Any]) -> None:
    """Run what makes that, unless it is there."""
    if not made.exists():
        subprocess.run([str(part) for part in command], check=True)


def quantise(whole: Path, to: Path, kind: str) -> None:
    import llama_cpp

    if to.exists():
        return
    how = llama_cpp.llama_model_quantize_default_params()
    how.ftype = getattr(llama_cpp, kind)
    if llama_cpp.llama_model_quantize(str(whole).encode(), str(to).encode(), how):
        sys.exit(f"llama.cpp could not quantise {whole}")


if __name__ == "__main__":
    main()
