"""Figures for operators, and metrics for Prometheus."""
