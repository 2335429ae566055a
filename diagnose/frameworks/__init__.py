"""What is private of a framework, each in one place."""
