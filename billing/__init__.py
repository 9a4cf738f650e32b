"""The domain: pure values and functions about money, on the standard library alone."""
