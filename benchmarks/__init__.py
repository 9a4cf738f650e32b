"""Measure what callwallet promises about speed; `make bench` measures everything."""
