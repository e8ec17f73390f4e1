# SPDX-License-Identifier: MPL-2.0
"""
The screens: pages on which people see the state of everything, and take the right next step.

They are drawn on the server and work without scripts; scripts only let them follow what happens. A screen calls the
functions of the rooms that the API calls, and what somebody may see or do is decided there. `frame` has what all pages
share, `site` puts them together; a screen is a module of its own with a `SCREEN` and a `router`, named in `site`.
"""
