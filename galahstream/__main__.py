"""Run the command line as ``python -m galahstream``."""

import sys

from galahstream.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
