"""What the four commands share. Standard library only."""
