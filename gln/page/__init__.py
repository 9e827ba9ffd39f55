"""The page on which one draws a digit and teaches a network. Needs the extra `page`."""
