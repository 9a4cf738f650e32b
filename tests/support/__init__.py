"""Everything that tests have in common: what they make, ask and wait for."""
