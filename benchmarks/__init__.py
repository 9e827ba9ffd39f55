"""The benchmarks behind this project's figures; see README.md in this folder."""
