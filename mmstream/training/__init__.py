"""Training of the recogniser: manifests -> cached features -> batches -> checkpoints -> weights to ship."""
