"""See gfn_vi/commands/send.py."""

import sys

from gfn_vi.commands.send import main

if __name__ == "__main__":
    sys.exit(main())
