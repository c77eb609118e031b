"""Engines: what really runs a session's code, one module each, loaded when first opened."""
