# SPDX-License-Identifier: MPL-2.0
"""Faults that are planted in a process of the product before it serves."""

from __future__ import annotations


def plant(name: str) -> None:
    """Plant a fault in this process."""
    raise SystemExit(f"there is no mutant {name}")
