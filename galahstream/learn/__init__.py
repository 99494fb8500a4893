"""From batches to stellar labels: model, training, metrics, pictures."""
