"""`python -m equimorph` is the command `equimorph`."""

import sys

from equimorph.cli import main

sys.exit(main())
