"""The theorems of arXiv 2210.00580 as checks of a sampler: left side, right side, relative error; and what must fail.

1. E_{P_F}[d_theta u^2] = 2 d_theta KL(P_F, P_B) for every log Z (Proposition 1, eq. 8).
2. E_{P_B}[d_phi u^2] = 2 d_phi KL(P_B, P_F) for every log Z (Proposition 1, eq. 7).
3. E_{P_F}[d_phi u^2] = d_phi (E_{P_F}[log^2 P_B/P_F] + 2 (log Z - log Zhat) KL(P_F, P_B)) (eq. 9).
4. SGD on trajectory balance is SGD on reverse KL with a global baseline, update by update (eq. 12).
5. Sub-trajectory balance is nested variational inference between junction layers (Proposition 2, in the appendix).
6. Data processing: D_f(R/Zhat, P_T) <= D_f(P_B, P_F).

theta, phi: parameters of P_F, P_B; u = log Z + log P_F(tau) - log P_B(tau | x) - log R(x); P_T: the terminating distribution.
"""
