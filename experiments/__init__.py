"""The experiments of the project: a package for each, with its README.md, figure.py, claims and committed results."""
