"""What watches a training run, and keeps what it sees."""
