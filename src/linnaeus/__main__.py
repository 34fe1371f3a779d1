"""`python -m linnaeus` is `linnaeus`."""

import sys

from linnaeus.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
