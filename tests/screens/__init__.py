# SPDX-License-Identifier: MPL-2.0
"""The screens in a real browser, and their texts."""
