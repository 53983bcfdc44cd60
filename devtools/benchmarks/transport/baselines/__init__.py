"""Who is measured: each contestant is a function that runs in a process of its own and says what it did.

In: a broker and topics with known content. Out: how many records, in how many seconds.
"""
