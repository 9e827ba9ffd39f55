"""Learning one sample after another: names of features, predict then learn, arms with features."""
