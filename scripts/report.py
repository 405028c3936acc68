"""See gfn_vi/commands/report.py."""

import sys

from gfn_vi.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
