"""Counts of trust that come from anywhere: believed only if they can be counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save

from tascel import bundle as bundles
from tascel.draft.trust import Trust
from tascel.errors import BundleError


def fields(**changes) -> dict[str, np.ndarray]:
    trust = Trust.unknown()
    return {name: getattr(trust, name) for name in Trust.__slots__} | changes


def header(change) -> bytes:
    """Good counts, their header as `change` leaves it."""
    content = save(fields())
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    change(entries)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def retyped(dtype, times):
    def change(entries):
        entry = entries["hits"]
        entry.update(dtype=dtype, shape=[times * entry["shape"][0]])

    return header(change)


def refused(tmp_path, content) -> None:
    path = tmp_path / "trust.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"trust\.safetensors: (cannot be read|holds no counts)"):
        bundles._read_trust(path)


def test_counts_come_back(tmp_path):
    path = tmp_path / "trust.safetensors"
    path.write_bytes(header(lambda entries: None))
    assert not bundles._read_trust(path).totals.any()


@pytest.mark.parametrize(
    ("dtype", "times"),
    [("BF16", 4), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E8M0", 8), ("F4", 16), ("C64", 1),
     ("BOOL", 8), ("U64", 1), ("F64", 1), ("I128", 1), (None, 1), (7, 1)],
)  # fmt: skip
def test_other_types_are_refused(tmp_path, dtype, times):
    refused(tmp_path, retyped(dtype, times))


@pytest.mark.parametrize(
    "changes",
    [
        {"hits": np.ones_like(Trust.unknown().hits)},  # of nothing
        {"bin_hits": np.ones_like(Trust.unknown().bin_hits)},
        {"totals": np.full_like(Trust.unknown().totals, -1)},
        {"totals": Trust.unknown().totals[None]},
        {"totals": np.zeros(3, np.int64)},
    ],
)
def test_what_cannot_be_counts_is_refused(tmp_path, changes):
    refused(tmp_path, save(fields(**changes)))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, header(lambda e: e.pop("hits"))])
def test_damage_is_refused(tmp_path, content):
    refused(tmp_path, content)
