"""What is fast and what is not, each figure beside another one that was measured in the same run."""
