"""What a user holds: sessions and the notebook."""
