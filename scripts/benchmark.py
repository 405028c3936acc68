"""See benchmark/command.py, the folder beside this file."""

import sys

from benchmark.command import main

if __name__ == "__main__":
    sys.exit(main())
