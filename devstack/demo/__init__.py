"""The demo: real signed traffic goes through the whole system, and every figure is checked."""
