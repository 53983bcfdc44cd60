"""Who is at home where: the Global User Registry on DynamoDB, and what a sign-up or a move changes.

Pure centre: `user` (rows and items), `placing` (what one sign-up means here), `reconciliation` (what a region missed).
I/O rim: `users_table`, `schema`, `signups`. A person's row is written in the home region only, conditionally on its version.
Refuses to know: Kafka clients, Faust, the edge.
"""
