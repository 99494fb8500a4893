"""What the operating system offers: no astronomy, no store."""
