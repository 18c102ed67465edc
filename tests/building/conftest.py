"""Traces of two tasks with times, and what of a bundle is equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

DAY = 86_400.0
NOW = 100 * DAY


@pytest.fixture(scope="session")
def dated(two_tasks):
    """`dated(40)`: so many traces of each of two tasks, the two mixed, some at the same time."""

    def dated(count, labelled=True):
        some = two_tasks(count, labelled)
        mixed = [some[at % 2 * count + at // 2] for at in range(2 * count)]
        return [replace(trace, time=NOW - (at * 7 % 40) * DAY) for at, trace in enumerate(mixed)]

    return dated


@pytest.fixture(scope="session")
def differing():
    """`differing(a, b)`: the names of the files that are not the same in two bundles; manifests say
    when they were written and by whom."""

    def differing(a: Path, b: Path):
        names = {
            file.relative_to(folder).as_posix()
            for folder in (a, b)
            for file in folder.rglob("*")
            if file.is_file()
        }
        return {
            name
            for name in names - {"manifest.json"}
            if not ((a / name).is_file() and (b / name).is_file())
            or (a / name).read_bytes() != (b / name).read_bytes()
        }

    return differing
