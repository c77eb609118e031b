"""``windtunnel session``: a prompt at which code runs in a session, under capabilities.

A line is code for the guest, or a command that begins with a dot (``.help`` lists them). What the
guest may reach is what was granted at the prompt, and the engine enforces it.
"""
