"""The engine behind the estimators: folders in the order in which a sample meets them."""
