"""The contract kit: laws, contracts, vacuity, and the proof of doubles."""
