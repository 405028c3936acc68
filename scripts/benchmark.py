"""See benchmark/command.py, the folder beside this file."""

from benchmark.command import main

if __name__ == "__main__":
    main()
