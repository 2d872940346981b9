"""Celery: the workers that carry out jobs, and the beat that looks after them."""
