"""`tascel check`: is a bundle whole?"""

from __future__ import annotations

from tascel.cli import options
from tascel.cli.console import out


def check(bundle: options.Bundle) -> None:
    """Verify every checksum of a bundle and that it opens, its tokenizer too."""
    from tascel.bundle import Bundle
    from tascel.store.folder import check_folder

    manifest = check_folder(bundle)
    _ = Bundle.open(bundle).codec
    size = sum(entry.bytes for entry in manifest.files.values())
    out.print(f"{bundle}: {len(manifest.files)} files, {size / 1e6:.1f} MB, all as written")
