"""The published comparison of diffusion samplers on densities: objectives, each on-policy and with three explorations."""
