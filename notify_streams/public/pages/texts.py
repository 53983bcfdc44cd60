"""The words of the pages, in each locale that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from notify_streams.records.user_records import DEFAULT_LOCALE

if TYPE_CHECKING:
    from notify_streams.roles import Channel

#: More ranges of `Accept-Language` are not read.
_MAX_RANGES: Final = 20


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """All words of one locale."""

    locale: str
    direction: Literal["ltr", "rtl"] = "ltr"
    #: The language's own name.
    name: str
    languages: str

    title: str
    intro: str
    channels: dict[Channel, str]
    always: str
    always_because: str
    save: str
    saved: str
    stopped: str

    stop_title: str
    stop_text: str
    stop_all: str
    confirm_title: str
    confirm_text: str
    confirm: str
    cancel: str

    unsubscribe_title: str
    unsubscribe_text: str
    unsubscribe: str
    unsubscribed: str
    unsubscribed_text: str

    bad_link: str
    bad_link_text: str
    unavailable: str
    unavailable_text: str
    refused: str
    refused_text: str


_EN: Final = Texts(
    locale="en",
    name="English",
    languages="Language",
    title="Your notifications",
    intro="Choose which messages you want, and how you get them. A tick means that you get them.",
    channels={"push": "Notification on your device", "sms": "Text message (SMS)", "email": "Email"},
    always="always on",
    always_because="What is always on cannot be turned off: these messages are a necessary part of the service.",
    save="Save",
    saved="Your choices are saved and apply now.",
    stopped="Everything that can be turned off is off now.",
    stop_title="Get nothing more",
    stop_text="Switches off all messages that can be turned off, in every category.",
    stop_all="Stop all",
    confirm_title="Stop all messages?",
    confirm_text="You will get no more messages in any category, except those that are always on. You can turn them on again here.",
    confirm="Yes, stop all",
    cancel="No, go back",
    unsubscribe_title="Unsubscribe?",
    unsubscribe_text="You will get no more messages of this kind in this way. It applies at once.",
    unsubscribe="Unsubscribe",
    unsubscribed="You are unsubscribed",
    unsubscribed_text="You get no more messages of this kind in this way.",
    bad_link="This link does not work",
    bad_link_text="It is incomplete or no longer valid. Open the link in the newest mail that you got from us.",
    unavailable="Please try again",
    unavailable_text="Your choices could not be read or saved just now. Please try again in a minute.",
    refused="Nothing was changed",
    refused_text="The request did not come from this page. Open the link in your mail and choose there.",
)
_DE: Final = Texts(
    locale="de",
    name="Deutsch",
    languages="Sprache",
    title="Ihre Benachrichtigungen",
    intro="Wählen Sie, welche Nachrichten Sie möchten und wie Sie sie erhalten. Ein Häkchen bedeutet, dass Sie sie erhalten.",
    channels={"push": "Mitteilung auf Ihrem Gerät", "sms": "SMS", "email": "E-Mail"},
    always="immer an",
    always_because="Was immer an ist, lässt sich nicht abschalten: Diese Nachrichten sind ein notwendiger Teil des Dienstes.",
    save="Speichern",
    saved="Ihre Auswahl ist gespeichert und gilt ab sofort.",
    stopped="Alles, was sich abschalten lässt, ist jetzt aus.",
    stop_title="Nichts mehr erhalten",
    stop_text="Schaltet alle Nachrichten ab, die sich abschalten lassen, in jeder Kategorie.",
    stop_all="Alles abbestellen",
    confirm_title="Alle Nachrichten abbestellen?",
    confirm_text="Sie erhalten in keiner Kategorie mehr Nachrichten, außer denen, die immer an sind. Sie können sie hier wieder einschalten.",
    confirm="Ja, alles abbestellen",
    cancel="Nein, zurück",
    unsubscribe_title="Abbestellen?",
    unsubscribe_text="Sie erhalten Nachrichten dieser Art auf diesem Weg nicht mehr. Das gilt sofort.",
    unsubscribe="Abbestellen",
    unsubscribed="Sie haben abbestellt",
    unsubscribed_text="Sie erhalten Nachrichten dieser Art auf diesem Weg nicht mehr.",
    bad_link="Dieser Link funktioniert nicht",
    bad_link_text="Er ist unvollständig oder nicht mehr gültig. Öffnen Sie den Link in der neuesten E-Mail von uns.",
    unavailable="Bitte versuchen Sie es noch einmal",
    unavailable_text="Ihre Auswahl konnte gerade nicht gelesen oder gespeichert werden. Bitte versuchen Sie es in einer Minute noch einmal.",
    refused="Es wurde nichts geändert",
    refused_text="Die Anfrage kam nicht von dieser Seite. Öffnen Sie den Link in Ihrer E-Mail und wählen Sie dort.",
)
_AR: Final = Texts(
    locale="ar",
    direction="rtl",
    name="العربية",
    languages="اللغة",
    title="إشعاراتك",
    intro="اختر الرسائل التي تريدها وطريقة وصولها إليك. علامة الاختيار تعني أنك تتلقاها.",
    channels={"push": "إشعار على جهازك", "sms": "رسالة نصية قصيرة (SMS)", "email": "البريد الإلكتروني"},
    always="مفعّلة دائمًا",
    always_because="لا يمكن إيقاف الرسائل المفعّلة دائمًا، لأنها جزء ضروري من الخدمة.",
    save="حفظ",
    saved="تم حفظ اختياراتك وهي سارية الآن.",
    stopped="تم إيقاف كل ما يمكن إيقافه.",
    stop_title="إيقاف كل الرسائل",
    stop_text="يوقف جميع الرسائل التي يمكن إيقافها في كل الفئات.",
    stop_all="إيقاف الكل",
    confirm_title="هل تريد إيقاف كل الرسائل؟",
    confirm_text="لن تتلقى أي رسائل في أي فئة، باستثناء الرسائل المفعّلة دائمًا. يمكنك تفعيلها مرة أخرى من هنا.",
    confirm="نعم، أوقف الكل",
    cancel="لا، العودة",
    unsubscribe_title="هل تريد إلغاء الاشتراك؟",
    unsubscribe_text="لن تتلقى رسائل من هذا النوع بهذه الطريقة بعد الآن. يسري ذلك فورًا.",
    unsubscribe="إلغاء الاشتراك",
    unsubscribed="تم إلغاء الاشتراك",
    unsubscribed_text="لن تتلقى رسائل من هذا النوع بهذه الطريقة بعد الآن.",
    bad_link="هذا الرابط لا يعمل",
    bad_link_text="الرابط غير مكتمل أو لم يعد صالحًا. افتح الرابط الموجود في أحدث رسالة بريد إلكتروني وصلتك منا.",
    unavailable="يرجى المحاولة مرة أخرى",
    unavailable_text="تعذّرت قراءة اختياراتك أو حفظها الآن. يرجى المحاولة مرة أخرى بعد دقيقة.",
    refused="لم يتم تغيير أي شيء",
    refused_text="لم يأتِ الطلب من هذه الصفحة. افتح الرابط الموجود في رسالة البريد الإلكتروني واختر من هناك.",
)
#: By locale.
TEXTS: Final = {texts.locale: texts for texts in (_EN, _DE, _AR)}


def texts_for(chosen: str | None, of_link: str | None, accept_language: str) -> Texts:
    """The words for a person, from the first of these that names a locale of `TEXTS`; else those in the default locale.

    Args:
        chosen: what was clicked on the page (``?lang=``).
        of_link: the person's locale, in the link; ``de-CH`` is served by ``de``.
        accept_language: the header (RFC 9110, 12.5.4).
    """
    for tag in (chosen, of_link, *_accepted(accept_language)):
        texts = TEXTS.get((tag or "").replace("_", "-").partition("-")[0].lower())
        if texts is not None:
            return texts
    return TEXTS[DEFAULT_LOCALE]


def _accepted(header: str) -> list[str]:
    """The language ranges, the preferred one first; without those of weight 0."""
    weighted: list[tuple[float, str]] = []
    for one in header.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        tag, _, parameter = one.partition(";")
        name, _, value = parameter.partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weight = 0.0
        if weight > 0:
            weighted.append((weight, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda one: -one[0])]
