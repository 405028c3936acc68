"""See gfn_vi/commands/pictures.py."""

import sys

from gfn_vi.commands.pictures import main

if __name__ == "__main__":
    sys.exit(main())
