"""Erasure of a person: what says who is removed, what only counts stays.

An erasure is a document of the collection `erasures` in each region (`store`). Its steps (`registered_data`, `history`) are made by any
worker of the registry role (`runner`), in two passes; each may be repeated.
"""
