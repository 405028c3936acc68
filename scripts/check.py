"""Check a target: python scripts/check.py --help."""

from gfn_vi.commands.check import main

if __name__ == "__main__":
    main()
