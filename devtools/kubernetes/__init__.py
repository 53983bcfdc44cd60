"""Manifests of `k8s/` that follow from the code: topics, users, logins.

`python -m devtools.kubernetes` writes them; a test compares them.
"""
