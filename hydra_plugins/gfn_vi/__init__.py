"""What Hydra demands to live in its namespace: the sweepers. Its search executes these modules, so they stay small and light."""
