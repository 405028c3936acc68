"""What a run is on disk: its name, its files, the state it is in. No other room knows a file name or a column."""
