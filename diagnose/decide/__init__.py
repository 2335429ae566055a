"""Each question about a run answered in one place: when a value was computed, which way is better, who watches what,
what was kept, and what the model was left with."""
