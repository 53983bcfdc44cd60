"""What lies between regions: how fast the forward role carries triggers over a long link, and what the speed of light allows.

In: a region's stack, another region's broker behind a link with the delay of an ocean. Out: figures beside a bare loop over the same
link, or a refusal if one record is missing.
"""
