# SPDX-License-Identifier: MPL-2.0
"""Measurements: each beside the machine's own ceiling, in one run."""
