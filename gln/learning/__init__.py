"""The engine behind the estimators: what networks read, how they are combined, and how they learn tables and streams.

Users import the modules of `gln`; these here are for who works on them.
"""
