"""See gfn_vi/commands/plot.py."""

import sys

from gfn_vi.commands.plot import main

if __name__ == "__main__":
    sys.exit(main())
