"""Features to standardised columns: scaling, categories, expansions."""
