"""A learner: what it reads, what it predicts, how it is built, explained and saved."""
