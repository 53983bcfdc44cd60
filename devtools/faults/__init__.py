"""Twelve faults under load: who names each of them, and how soon."""
