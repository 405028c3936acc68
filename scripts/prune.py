"""See gfn_vi/commands/prune.py."""

from gfn_vi.commands.prune import main

if __name__ == "__main__":
    main()
