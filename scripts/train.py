"""Train the network on a store: python scripts/train.py store --epochs 10."""

import sys

from galahstream.cli.main import train_main

if __name__ == "__main__":
    sys.exit(train_main())
