"""See gfn_vi/commands/status.py."""

import sys

from gfn_vi.commands.status import main

if __name__ == "__main__":
    sys.exit(main())
