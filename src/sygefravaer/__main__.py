# SPDX-License-Identifier: MPL-2.0
"""`python -m sygefravaer` is the command line."""

from sygefravaer.cli import main

if __name__ == "__main__":
    main()
