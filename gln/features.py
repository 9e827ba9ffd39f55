"""Features for a GLN: online standardisation, and piecewise-linear encodings."""

from gln.engine.preprocessing.basis_expansion import Pieces, piecewise_linear, quantile_pieces, with_distances
from gln.engine.preprocessing.scaling import SparseScaler, Standardizer

__all__ = ["Pieces", "SparseScaler", "Standardizer", "piecewise_linear", "quantile_pieces", "with_distances"]
