"""Routes: which deployments of a model can be asked, the health of each, the budget of repeats, what is known of models."""
