"""The paper's theorems as checks of a sampler: left side, right side, relative error; and what must fail."""
