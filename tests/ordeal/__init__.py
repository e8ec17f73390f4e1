# SPDX-License-Identifier: MPL-2.0
"""Trials that break things: processes are killed and stopped, and the promise must hold. `make ordeal` runs them all."""
