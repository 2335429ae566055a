"""Stopping policies replayed over a finished trace: where each would have stopped, and what it would have kept. Trains
nothing and evaluates nothing."""
