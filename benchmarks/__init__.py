"""What tracing and diagnosing cost, and how good the rules are over the corpus. `run.py` begins here."""
