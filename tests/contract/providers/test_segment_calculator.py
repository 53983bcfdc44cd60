"""The size of an SMS equals what Twilio's calculator says, for random texts; `make drill` has 100,000.

The calculator is the npm package sms-segments-calculator, run by the Node.js of playwright. `devtools.npm` downloads it once.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from random import Random

import orjson
import pytest

from devtools.npm import node, packages
from notify_streams.delivery.providers.sms import sms_size
from notify_streams.delivery.providers.sms.break_classes import RANGES
from notify_streams.delivery.providers.sms.graphemes import grapheme_sizes

PROGRAM = Path(__file__).with_name("segment_calculator.js")
BASIC = "".join(map(chr, range(32, 127))) + "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉäöñüà§¿¡"
EXTENDED = "\f^{}\\[~]|€"
EMOJI = "😀👩👨👧👦🏽🏿\u200d\ufe0f❤🗨👁🇩🇪🇯🇵🇺🇸✊☝⛹🏋♀♂"
COMBINING = "e\u0301a\u0308\u0300n\u0303นี้กำषिनी가각\u1100\u1161\u11a8\u0600\u06dd\u0d4e"


def alphabets() -> list[str]:
    """Each text is drawn from one to three of these, to equal parts."""
    starts = [bounds.partition("-")[0] for ranges in RANGES.values() for bounds in ranges.split()]
    one_of_each = "".join(chr(int(start, 16)) for start in starts if not start.startswith("d8"))
    few = [BASIC, EXTENDED, "\r\n", "漢字かな交じり文", "привет мир", "שלום عالم", "”“’–…áçîőł", EMOJI, COMBINING]
    return [letters * (len(one_of_each) // len(letters)) for letters in [*few, one_of_each]]


def random_texts(count: int, seed: int) -> list[str]:
    random, letters = Random(seed), alphabets()
    gsm7 = letters[:3]
    texts = []
    for _ in range(count):
        pool = "".join(random.sample(gsm7 if random.random() < 0.3 else letters, random.choice((1, 1, 2, 2, 3))))
        # Mostly short, because the calculator's time is quadratic in the length.
        (near,) = random.choices((24, 70, 134, 160, 306), (78, 14, 4, 3, 1))
        length = random.randrange(near) if random.random() < 0.4 else near + random.randrange(-3, 4)
        texts.append("".join(random.choices(pool, k=length)))
    return texts


def calculated(texts: list[str]) -> list[list[object]]:
    """Of each text: encoding, number of segments, UTF-16 units of each grapheme."""
    done = subprocess.run(
        [node(), str(PROGRAM)],
        input=orjson.dumps(texts),
        capture_output=True,
        env={**os.environ, "NODE_PATH": str(packages() / "node_modules")},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: list[list[object]] = orjson.loads(done.stdout)
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.drill)])
def test_segments_equal_those_of_twilios_calculator(count: int) -> None:
    texts = random_texts(count, 19)
    ours = [[size.encoding, size.segments, grapheme_sizes(text)] for text in texts for size in [sms_size(text)]]
    wrong = [
        (text, mine, theirs)
        for text, mine, theirs in zip(texts, ours, calculated(texts), strict=True)
        if mine != theirs
    ]
    assert wrong[:3] == []
    assert {encoding for encoding, _, _ in ours} == {"GSM-7", "UCS-2"}
    assert {count for _, count, _ in ours} >= {1, 2, 3, 4, 5}
