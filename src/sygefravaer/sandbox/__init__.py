# SPDX-License-Identifier: MPL-2.0
"""The sandbox: every part on one machine in one command, over real mutual TLS."""
