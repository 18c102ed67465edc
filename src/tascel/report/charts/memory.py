"""What lies in memory, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tascel.report.drawing import Chart, Colours

_WORDS = {"model": "model's weights", "bundle": "bundle (mapped)", "process": "process, at most"}


def held(bytes_of: Mapping[str, int | None]) -> Chart:
    """A bar for each thing whose size is known."""
    known = {_WORDS[name]: size / 2**20 for name, size in bytes_of.items() if size is not None}
    return Chart(
        "memory",
        "Memory",
        "What the weights and the bundle's files take, and the most that the process with all its "
        "contenders has held. The bundle is mapped: only what is used of it lies in memory.",
        bars(known, "MiB"),
        0.9 + 0.32 * len(known),
    )


def bars(sizes: Mapping[str, float], unit: str) -> Any:
    """What draws a bar for each of `sizes`, in `unit`."""

    def draw(figure: Any, colours: Colours) -> None:
        axes = figure.subplots()
        for at, size in enumerate([*sizes.values()][::-1]):
            axes.barh(at, size, color=colours["accent"], height=0.62)
            axes.annotate(
                f"{size:,.0f}" if size >= 10 else f"{size:.2g}",
                (size, at), (4, 0), textcoords="offset points", va="center",
            )  # fmt: skip
        axes.set_yticks(range(len(sizes)), [*sizes][::-1])
        axes.set_xlim(0, 1.2 * max([*sizes.values(), 1e-9]))
        axes.set_xlabel(unit)

    return draw
