"""Global and local baselines on hypergrids."""
