# SPDX-License-Identifier: MPL-2.0
"""`python -m codes`: let every two codes change places."""

import sys

from codes.swapping import main

sys.exit(main(sys.argv[1:]))
