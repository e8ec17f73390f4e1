# SPDX-License-Identifier: MPL-2.0
"""
The administration: pages and an API for people who run the platform, on a listener of their own.

`pages` and `rest` load a web framework, so whoever needs them names them; here is only what every start needs.
"""

from sygefravaer.admin.tables import MIGRATIONS, SEALED

__all__ = ["MIGRATIONS", "SEALED"]
