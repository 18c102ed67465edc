"""What was compiled is kept for the sources it came from, and where nothing can be kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tascel import compiled
from tascel.draft.features import _hashes


def test_a_folders_version_is_all_of_its_sources(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1")
    before = compiled.digest(tmp_path)
    assert compiled.digest(tmp_path) == before
    (tmp_path / "b.py").write_text("x = 2")  # which a.py may have compiled into its own
    assert compiled.digest(tmp_path) != before


def test_kernels_of_other_sources_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    kept = tmp_path / "__pycache__"
    kept.mkdir()
    current = compiled.digest(tmp_path)
    for name in (f"a.f-{current}-1.py311.nbi", "a.f-0123-1.py311.nbi", "a.f-0123-1.py311.1.nbc"):
        (kept / name).touch()
    (kept / "a.cpython-311.pyc").touch()
    assert compiled.version(tmp_path) == current
    assert sorted(f.name for f in kept.iterdir()) == [
        "a.cpython-311.pyc",
        f"a.f-{current}-1.py311.nbi",
    ]


def test_kernels_are_named_after_their_folder() -> None:
    ids = np.array([1, 2], np.int32)
    assert len(_hashes(ids, ids)) == 3
    folder = Path(_hashes.__code__.co_filename).parent
    kept = [file.name for file in Path(_hashes.stats.cache_path).glob("features._hashes-*.nbi")]
    assert kept
    assert all(compiled.version(folder) in name for name in kept)


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError

    def twice(x: int) -> int:
        return 2 * x

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # how numba tries a folder
    doubled = compiled.kernel(twice)
    assert doubled.stats.cache_path is None
    assert doubled(3) == 6
