"""`python -m tascel`, which is also how `accelerate launch -m tascel` starts it."""

from __future__ import annotations

from tascel.cli import main

if __name__ == "__main__":
    main()
