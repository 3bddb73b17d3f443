"""Text into other languages: engines, what must survive them, and when a word may be promised while people speak."""
