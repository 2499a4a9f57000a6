"""Plans, runs and incidents: a written contingency plan becomes a run that people and machines carry out together."""
