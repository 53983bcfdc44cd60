"""The edge: every point of presence knows each person's home region, so that a client's first request goes to the right one.

`point` says what a point of presence can do; `http_point`, `cloudflare` and `fastly` are three kinds; `push` brings a batch of
locations to one of them. What must be pushed lies on the topic `edge.<name>` until it is there: a point of presence that is away
holds up itself alone, no sign-up waits for it, and a lost one is filled again by reading its topic from the beginning.
Refuses to know: the registry, Kafka, who a person is beyond an id.
"""
