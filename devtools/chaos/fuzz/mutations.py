"""Draws hostile variants of a record: fields, bytes, key, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from devtools.chaos.fuzz.corpus import USERS, Seed
from devtools.chaos.fuzz.records import CODECS, RawRecord
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.partitioner import bucket_of
from notify_streams.topics import REGION_CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    Mutation = Callable[[bytes, Random], bytes]

_BOM: Final = b"\xef\xbb\xbf"
_BROKEN_UTF8: Final = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80")

#: JSON texts that replace a field.
BOUNDARIES: Final[tuple[bytes, ...]] = (
    *(b"null", b"true", b"[]", b"{}", b'""', b'" "', b"0", b"-0", b"-1", b"1.5", b"1e999", b"NaN", b"9007199254740991"),
    *(b"9007199254740992", b"9223372036854775808", b"18446744073709551616", b"4611686018427387904", b"1000001"),
    b"12345678901234567890123456789012345678901",
    b"9" * 5_000,
    *(
        b'"0001-01-01T00:00:00Z"',
        b'"0002-11-30T00:00:00Z"',
        b'"1969-12-31T23:59:59Z"',
        b'"9999-12-31T23:59:59.999999Z"',
    ),
    *(
        b'"9999-12-31T23:59:59-23:59"',
        b'"0001-01-01T00:00:00+23:59"',
        b'"2016-12-31T23:59:60Z"',
        b'"2026-02-30T00:00:00Z"',
    ),
    *(b'"10000-01-01T00:00:00Z"', b'"2026-11-22T10:00:00"', b"1795776000000"),
    *(b'"a\\u00003"', b'"a\\tb"', b'"a\\u2028b"', b'"a\\u0085b"', b'"a\\r\\nb"', b'"\\ud800"', b'"\\u007f"', b'" a "'),
    *(
        b'"*"',
        b'"$where"',
        b'"a.b"',
        b'"../.."',
        b'"%s%n"',
        b'"{0.__class__}"',
        b'"+15550000042\\n"',
        b'"x@b\xc3\xbccher.example"',
    ),
    *(b'"%s"' % (b"x" * number) for number in (128, 129, 512, 70_000)),
    b'"%s"' % ("😀" * 128).encode(),
    b'"%s"' % (b'\\"' * 1_000),
    *(b"[" * depth + b"]" * depth for depth in (150, 201, 5_000)),
    *(b'{"a":' * depth + b"1" + b"}" * depth for depth in (150, 201, 5_000)),
    b"[%s]" % b",".join([b'"push"', b'"sms"', b'"email"'] * 3_000),
    b"{%s}" % b",".join(b'"k%d":%d' % (number, number) for number in range(2_000)),
    b'{"$gt":""}',
    b'{"notify_critical":"1","from":"x"}',
)

_OUR_HEADERS: Final = (
    b"hops",
    b"origin",
    b"target",
    b"location_version",
    b"epoch",
    b"cleared_by",
    b"handed_over_by",
    b"system",
    b"source",
)
#: Headers that a client may set, in good faith or not. An epoch that might come true is left out: it may hold a record for a minute.
_HEADERS: Final[tuple[tuple[bytes, bytes | None], ...]] = (
    *(
        (b"critical", b"1"),
        (b"critical", None),
        (b"source", b"app"),
        (b"source", b"triggers.payments:0:0"),
        (b"source", b"::"),
    ),
    *(
        (b"hops", b"1"),
        (b"hops", b"9" * 30),
        (b"hops", b"-1"),
        (b"epoch", b"100000000000000000"),
        (b"epoch", b"9" * 400),
    ),
    *(
        (b"location_version", b"9007199254740991"),
        (b"location_version", b"\xd9\xa1"),
        (b"target", REGION_CONTROL.encode()),
    ),
    *(
        (b"cleared_by", b"\xff"),
        (b"origin", b"\xff\xfe"),
        (b"origin", b"us"),
        (b"system", b"x" * 300),
        (b"system", b"a\nb"),
    ),
    *(
        (b"handed_over_by", b"eu"),
        (b"ce_id", b"\xff"),
        (b"ce_id", b"x" * 200),
        (b"ce_source", b"\xc3"),
        (b"ce_source", b"x" * 600),
    ),
    *(
        (b"\xff\xfe-name", b"1"),
        (b"", b""),
        (b"", None),
        (b"traceparent", b"\xff" * 60),
        (b"reason", None),
        (b"offset", b"-1"),
    ),
    *((b"id", b"\x00"), (b"big", b"x" * 70_000)),
    *((name, None) for name in _OUR_HEADERS),
)
_MANY_HEADERS: Final = 300
#: A broker checks the compressed size only. The larger one is more than a worker reads.
_INFLATED_BYTES: Final = (8_000_000, 40_000_000)


def _with_boundary(value: bytes, draw: Random) -> bytes:
    return _with_field(value, draw, draw.choice(BOUNDARIES))


def _without_field(value: bytes, draw: Random) -> bytes:
    return _with_field(value, draw, None)


def _with_field(value: bytes, draw: Random, text: bytes | None) -> bytes:
    """One field replaced by a JSON text, or removed; of an event, often one of its trigger's fields."""
    try:
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except DECODE_ERRORS:
        return value
    name = draw.choice([*fields, "extra", "source", "standby", "time_zone", "collapse_key"])
    if name == "data" and draw.random() < 0.5:
        text = _with_field(bytes(fields["data"]), draw, text)
    texts = {one: bytes(raw) for one, raw in fields.items() if one != name}
    if text is not None:
        texts[name] = text
    return b"{%s}" % b",".join(msgspec.json.encode(one) + b":" + raw for one, raw in texts.items())


def _twice(value: bytes, draw: Random) -> bytes:
    """Every name twice, with other values the second time."""
    other = _with_boundary(value, draw)
    return value[:-1] + b"," + other[1:] if value[-1:] == b"}" and other[:1] == b"{" else value + value


def _cut(value: bytes, draw: Random) -> bytes:
    return value[: draw.randrange(len(value) + 1)]


def _flipped(value: bytes, draw: Random) -> bytes:
    changed = bytearray(value)
    for _ in range(draw.randint(1, 8)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _with_bad_utf8(value: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(value) + 1)
    return value[:at] + draw.choice(_BROKEN_UTF8) + value[at:]


def _recoded(value: bytes, draw: Random) -> bytes:
    text = value.decode(errors="replace")
    return draw.choice((_BOM + value, text.encode("utf-16"), text.encode("utf-32"), value.decode("latin-1").encode()))


def _repeated(value: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(value) + 1)
    end = min(len(value), at + draw.randint(1, 40))
    return value[:end] + value[at:end] * draw.choice((2, 50, 500)) + value[end:]


#: From a size in bytes to a value that a careless reader takes longer for than its size says.
SHAPES: Final[dict[str, Callable[[int], bytes]]] = {
    "escaped quotes, then brackets": lambda size: b'{"isCritical": true,"data":"' + b'\\"' * (size // 2) + b"[" * 300,
    "escaped quotes in a string": lambda size: b'{"isCritical": true,"data":{"a":"%s"}}' % (b'\\"' * (size // 2)),
    "backslashes": lambda size: b'{"id":"%s' % (b"\\" * size),
    "open brackets": lambda size: b"[" * size,
    "open objects": lambda size: b'{"":' * (size // 4),
    "flat brackets": lambda size: b'{"data":{"a":[%s[]]}}' % (b"[]," * (size // 3)),
    "blanks": lambda size: b'{"isCritical"' + b" " * size + b": true}",
    "a name again and again": lambda size: b'{"isCritical":"' + b'"isCritical" :' * (size // 14),
    "digits": lambda size: b'{"id":%s}' % (b"1" * size),
    "escapes": lambda size: b'{"id":"%s"}' % (b"\\u0041" * (size // 6)),
    "equal names": lambda size: b'{%s"a":1}' % (b'"a":1,' * (size // 6)),
    "channels": lambda size: b'{"user_id":"u","channels":[%s"sms"]}' % (b'"push",' * (size // 7)),
    "one character of four bytes": lambda size: b'{"id":"%s"}' % ("😀".encode() * (size // 4)),
    "base64": lambda size: b'{"specversion":"1.0","id":"1","data_base64":"%s"}' % (b"W1tb" * (size // 4)),
    "blanks of an address": lambda size: b'{"user_id":"u","email":"%s@b.org"}' % (b" " * size),
    "dots of an address": lambda size: b'{"user_id":"u","email":"a@%sorg"}' % (b"a." * (size // 2)),
    "a locale": lambda size: b'{"user_id":"u","region":"us","locale":"aa%s!"}' % (b"-aa" * (size // 3)),
}
_SHAPE_BYTES: Final = (2_000, 16_000, 60_000, 250_000)


def _shaped(value: bytes, draw: Random) -> bytes:
    return SHAPES[draw.choice(tuple(SHAPES))](draw.choice(_SHAPE_BYTES))


def _tiny(value: bytes, draw: Random) -> bytes:
    return draw.choice((b"", b"null", b"[]", b"{}", b'"a"', b"0", b"\x00", b"{" * 300, _BOM, b"\xff" * 40, value[::-1]))


#: The first one is drawn most often: it gets past the decoder.
MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(_with_boundary,) * 8,
    *(_without_field, _twice, _cut, _flipped, _with_bad_utf8, _recoded, _repeated, _shaped, _tiny),
)


def draw_value(seed: Seed, draw: Random) -> bytes | None:
    """A variant of a seed's value, about one of `USERS` if the seed is; None is a tombstone."""
    if seed.value is None or draw.random() < 0.02:
        return None
    value = seed.value.replace(USERS[0].encode(), draw.choice(USERS).encode())
    value = value.replace(b'"t-1"', b'"t-%d"' % draw.randrange(1_000_000))
    if draw.random() < 0.15:
        return value
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        value = draw.choice(MUTATIONS)(value, draw)
    return value


def draw_headers(draw: Random) -> tuple[tuple[bytes, bytes | None], ...]:
    """Mostly none."""
    if draw.random() < 0.7:
        return ()
    if draw.random() < 0.05:
        return tuple((b"h%d" % number, b"x") for number in range(_MANY_HEADERS))
    return tuple(draw.choice(_HEADERS) for _ in range(draw.randint(1, 4)))


def draw_record(seeds: Sequence[Seed], partitions: int, draw: Random) -> RawRecord:
    """A record in any partition of its topic; about one in three lies where its user's records belong."""
    seed = draw.choice(seeds)
    value = draw_value(seed, draw)
    user = draw.choice(USERS)
    key = draw.choice((seed.key, user.encode(), None, b"", b"\xff\xfe", b"x" * 300))
    if seed.topic == REGION_CONTROL:
        partition = 0
    elif draw.random() < 0.3:
        partition = bucket_of(user, partitions)
    else:
        partition = draw.randrange(partitions)
    codec = draw.choice(CODECS) if draw.random() < 0.2 else CODECS[0]
    if value and draw.random() < 0.002:
        value, codec = value + b" " * draw.choice(_INFLATED_BYTES), draw.choice(CODECS[1:])
    return RawRecord(seed.topic, partition, key, value, (*seed.headers, *draw_headers(draw)), codec)
