"""The provider sandbox: one process that stands in for FCM, Twilio and a mail server, over their real protocols.

In: what a client would send to the real ones. Out: their answers, and a file with one line for every message accepted, so
that what was really sent can be counted from outside. Refuses to know our clients: it shares no code with them.
"""
