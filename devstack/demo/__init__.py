"""The demo: real signed traffic through the whole system, and every figure checked."""
