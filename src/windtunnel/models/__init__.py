"""Model servers: every model API, by script, on the wire and in process."""
