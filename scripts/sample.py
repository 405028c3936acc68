"""See gfn_vi/commands/sample.py."""

import sys

from gfn_vi.commands.sample import main

if __name__ == "__main__":
    sys.exit(main())
