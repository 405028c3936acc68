"""What every command line shares: refusals in one line, and the status that a program ends with."""
