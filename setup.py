"""The modules and packages to install; all else is in pyproject.toml, which has no way to name packages of stubs."""

from setuptools import find_packages, setup

MODULES = ["gln_numpy", "gln_torch", "gln_tf", "gln_jax", "gln_numba", "test_mnist"]
# Types of modules that are one file are packages of their own (PEP 561).
STUBS = {f"{name}-stubs": f"stubs/{name}" for name in MODULES}

setup(
    py_modules=MODULES,
    packages=[*find_packages(include=["gln", "gln.*"]), *STUBS],
    package_dir=STUBS,
)
