"""What can be said of samplers of densities: against exact samples of the target, and of where the samples lie."""
