"""The dispatcher: the tick and its phases, the pure rules they follow, and the loop around them."""
