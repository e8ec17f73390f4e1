# SPDX-License-Identifier: MPL-2.0
"""Sygefravaer 2.0: the exchange of sickness-benefit cases between KSD and the municipal jobcentre systems."""

__version__ = "0.1.0"
