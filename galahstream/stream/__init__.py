"""From a store to batches: transforms, order, dataset and loader."""
