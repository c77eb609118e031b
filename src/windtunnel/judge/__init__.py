"""Judges: pure functions from a history to a verdict. They run nothing and store nothing."""
