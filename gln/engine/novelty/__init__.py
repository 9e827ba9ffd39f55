"""How novel samples are: `novelty` of estimators, and `GLNNovelty`."""
