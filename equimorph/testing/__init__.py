"""The assertions that we use ourselves, for users' own layers and networks."""

from equimorph.testing.equivariance import TOLERANCES, assert_equivariant, equivariance_errors

__all__ = ["TOLERANCES", "assert_equivariant", "equivariance_errors"]
