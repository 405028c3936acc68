"""From the files of runs to tidy tables."""
