"""Train networks that predict stellar labels, and use them."""
