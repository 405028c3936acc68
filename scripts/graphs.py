"""See gfn_vi/commands/graphs.py."""

import sys

from gfn_vi.commands.graphs import main

if __name__ == "__main__":
    sys.exit(main())
