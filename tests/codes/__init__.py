# SPDX-License-Identifier: MPL-2.0
"""
The effect of every code, and what happens when two of a list change places.

`tables` says what each code does, written from the domain's rules; `ksd_side`, `jobcenter_side`, `gateway_side` and
`reading` drive real messages and say what is seen; `effects` brings the two together; `mutants` and `swapping` exchange
two codes in a copy of the product and let the two codes' effects be looked at again.
"""
