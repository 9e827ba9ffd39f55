"""What people import around a network, for any backend: estimators, layers, saving, explaining, features, pictures.

Importing this package imports nothing else; each module imports what it needs. The engine behind them is `engine`.
"""

__version__ = "1.0.0"
