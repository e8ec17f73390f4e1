# SPDX-License-Identifier: MPL-2.0
"""The administration: pages and JSON for people who run the platform, on a listener of their own."""

from sygefravaer.admin.pages import application

__all__ = ["application"]
