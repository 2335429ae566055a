"""The only place that knows all phases: replays a trace, asks the rules, and makes the diagnosis."""
