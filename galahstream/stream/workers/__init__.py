"""Workers that read batches ahead, and the memory that they read them into."""
