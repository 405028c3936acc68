"""Verify the theorems: python scripts/verify.py --help."""

from gfn_vi.commands.verify import main

if __name__ == "__main__":
    main()
