"""The registry of users on DynamoDB Global Tables; sign-ups and moves.

Without I/O: `user`, `signup_decision`, `reconciliation`, `contact_retention`, `contact_copies`, `pending_signups`. With I/O:
`users_table`, `schema`, `signups`. Only the home region writes a user's row, conditionally on its version.
"""
