"""See gfn_vi/commands/reproduce.py."""

import sys

from gfn_vi.commands.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
