"""The command `gln-bandit`: logs of decisions."""
