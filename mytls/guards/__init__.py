"""What keeps a stranger from holding anything."""
