"""How novel samples are: the parts of `gln.novelty.GLNNovelty`."""
