"""What a recovery on demand has put where a source is: capture asks it, and never reads what is cold."""
