"""The noise of gradients along the noise and by scores on densities, against exact expected gradients."""
