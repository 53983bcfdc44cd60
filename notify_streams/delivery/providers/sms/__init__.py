"""The text of an SMS, its size and the limit of its segments."""

from notify_streams.delivery.providers.sms.segments import SmsSize, sms_size
from notify_streams.delivery.providers.sms.text import sms_text, too_many_segments

__all__ = ["SmsSize", "sms_size", "sms_text", "too_many_segments"]
