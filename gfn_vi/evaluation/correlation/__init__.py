"""How well log P_T follows log R over objects that were chosen beforehand."""
