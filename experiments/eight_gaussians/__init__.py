"""The appendix of arXiv 2210.00580 on densities: eight Gaussians in the plane by a diffusion of a few steps."""
