# SPDX-License-Identifier: MPL-2.0
"""Random lives of sickness-benefit cases through the real services, and a judge of what the two sides then say."""
