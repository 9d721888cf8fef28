"""Coefficients that others fitted, for comparison and for plans without runs of one's own."""

# Busbridge et al. 2025 (arXiv:2502.08606), table 6: English C4, vocabulary of 32768, context 4096.
APPLE_SUPERVISED = {
    "A": 3355.0,
    "B": 18186.0,
    "E": 1.220,
    "alpha": 0.408,
    "beta": 0.431,
    "gamma": 0.452,
}
APPLE_DISTILLATION = {
    "A": 2243.0,
    "B": 24181.0,
    "alpha": 0.321,
    "beta": 0.637,
    "gamma": 0.764,
    "c0": 2.549,
    "c1": 522.6,
    "f1": 0.090,
    "d1": 1.315,
}
# Hoffmann et al. 2022 (arXiv:2203.15556), as in the TeX source, and the replication of Besiroglu
# et al. 2024 (arXiv:2404.10102).
HOFFMANN = {"A": 406.40, "B": 410.72, "E": 1.6934, "alpha": 0.33917, "beta": 0.28491}
BESIROGLU = {"A": 482.006, "B": 2085.43, "E": 1.81686, "alpha": 0.34781, "beta": 0.36585}
