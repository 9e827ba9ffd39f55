"""What the figures of this project come from; see README.md in this folder."""
