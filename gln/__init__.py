"""The code around the networks, for any backend: learners, saving, explaining, features, pictures, estimators, digits.

Importing this package imports nothing else; each module imports what it needs.
"""

__version__ = "1.0.0"
