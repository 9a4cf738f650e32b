"""What processes share: parking, search attributes, options, and how one starts another."""
