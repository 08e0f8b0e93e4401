"""A recorded call as a picture."""
