"""What an agent says of itself: to its node with each report, and on its own host to who asks there."""
