"""The file of a recorded session: its lines, how they are read, and the task that writes them."""
