"""The one store of events."""
