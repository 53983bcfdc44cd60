"""The size of a text as an SMS."""

from notify_streams.delivery.providers.sms.segments import SmsSize, sms_size

__all__ = ["SmsSize", "sms_size"]
