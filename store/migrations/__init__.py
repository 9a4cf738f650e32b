"""The history of the schema, run by `callwallet setup`."""
