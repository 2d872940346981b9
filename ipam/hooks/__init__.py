"""Admission hooks: consumers on the bus that are asked before a change is made."""
