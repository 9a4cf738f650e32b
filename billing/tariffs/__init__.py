"""What calls and messages cost."""
