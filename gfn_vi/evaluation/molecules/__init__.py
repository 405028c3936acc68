"""What can be said of samplers of molecules: the best of them, how different they are, and how many modes they make."""
