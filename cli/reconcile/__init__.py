"""`callwallet reconcile`: compare with a provider by hand."""
