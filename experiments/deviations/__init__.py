"""What the published code did otherwise than the paper, and what that changes."""
