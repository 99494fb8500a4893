"""Write the spectra of a source into a store: python scripts/convert.py raw store."""

import sys

from galahstream.cli.main import convert_main

if __name__ == "__main__":
    sys.exit(convert_main())
