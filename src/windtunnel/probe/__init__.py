"""Probes run things again, changed on purpose, to find a cause: hunt, with its interventions."""
