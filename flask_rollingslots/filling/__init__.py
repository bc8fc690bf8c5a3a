"""Writing a plan fast: what many templates share, what is stored already, and what is inserted in bulk."""
