"""Measuring: manifests, word error rate, latency. Definitions are those of the project's METRICS.md."""
