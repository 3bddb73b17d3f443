"""Benchmarks: each measures in rounds, shows a table for people and ends with one JSON line for machines."""
