"""`python -m nedr` is `nedr`."""

import sys

from nedr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
