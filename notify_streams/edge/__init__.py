"""Edge stores: each point of presence maps a user to the home region.

`EdgePusher` writes batches of locations to one point of presence; `Cloudflare` and `SingleKeyStore` are the kinds of stores. Locations
wait on the topic `edge.<name>` until they are written: a point of presence that is away delays no sign-up and no other point of
presence, and a lost one is refilled by reading its topic from the beginning.
"""
