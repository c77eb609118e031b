"""Isolated places to run code."""
