# SPDX-License-Identifier: MPL-2.0
"""
What is said on the wire: schemas, code lists, messages, operations. Pure, no I/O beyond its own files.

Nothing is imported here: each file of the room is imported by its own name.
"""
