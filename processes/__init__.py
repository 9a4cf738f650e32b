"""Everything that asks Temporal from outside a workflow: start, signal, update, list and set up."""
