"""What measures galahstream."""
