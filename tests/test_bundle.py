"""Trust that comes from anywhere: believed only if it can be trust."""

from __future__ import annotations

import numpy as np
import pytest

from tascel import bundle as bundles
from tascel.draft import trust as trusts
from tascel.errors import BundleError


def test_trust_comes_back(tmp_path):
    path = tmp_path / "trust.npy"
    np.save(path, trusts.unknown())
    assert np.array_equal(bundles._read_trust(path), trusts.unknown())


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
