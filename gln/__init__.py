"""What stands round the networks, for any backend: saving, explaining, features, pictures, estimators, the digits.

Importing this package imports nothing else; each of its modules says what it needs.
"""
