"""What a molecule is worth: each proxy maps RDKit molecules to numbers, of which the target makes rewards."""
