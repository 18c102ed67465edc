"""Trust that comes from anywhere: believed only if it can be trust."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tascel import bundle as bundles
from tascel.draft import trust as trusts
from tascel.errors import BundleError


def test_trust_comes_back(tmp_path):
    path = tmp_path / "trust.npy"
    np.save(path, trusts.unknown())
    assert np.array_equal(bundles._read_trust(path), trusts.unknown())
    np.save(path, np.asfortranarray(trusts.unknown()))  # kernels are compiled for rows in order
    assert bundles._read_trust(path).flags.c_contiguous


@pytest.mark.parametrize(
    "trust",
    [
        trusts.unknown().astype(np.float64),
        trusts.unknown()[:1],
        trusts.unknown()[None],
        np.where(np.arange(trusts.unknown().size) == 7, np.nan, 0).astype(np.float32),
        np.full_like(trusts.unknown(), np.inf),
        np.array([object()]),
    ],
)
def test_what_cannot_be_trust_is_refused(tmp_path, trust):
    path = tmp_path / "trust.npy"
    np.save(path, trust)
    with pytest.raises(BundleError, match=r"trust\.npy: (holds|is no readable array)"):
        bundles._read_trust(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x93NUMPY\x01\x00"])
def test_damage_is_refused(tmp_path, content):
    path = tmp_path / "trust.npy"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"trust\.npy: is no readable array"):
        bundles._read_trust(path)


def test_an_index_with_positions_beyond_i32_is_refused(tmp_path, monkeypatch):
    endless = np.broadcast_to(np.int32(0), 2**31)  # a file of zeros takes no room on the disk
    monkeypatch.setattr(bundles, "map_array", lambda path, dtype: endless)
    manifest = SimpleNamespace(segments=(bundles.SEGMENT,))
    with pytest.raises(BundleError, match="do not fit"):
        bundles.Bundle._read(tmp_path, manifest, None)
