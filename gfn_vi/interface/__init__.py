"""What a Python program does with the package: compose, train, load and sample; gfn_vi/__init__.py offers it."""
