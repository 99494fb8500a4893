"""Workers that make batches ahead, and the memory they make them in."""
