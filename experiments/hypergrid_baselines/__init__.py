"""The control variates of reverse KL, forward KL and reverse wake-sleep on the hypergrid."""
