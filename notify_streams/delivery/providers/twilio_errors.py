"""Twilio's error codes, and what each means for a delivery.

The page of a row is https://www.twilio.com/docs/api/errors/ and its code, with the row's title. The list has the codes of the Messaging API and
of the statuses of messages, which receipts bring; not those of voice, of numbers to buy and of registrations.

What is wrong for every recipient (log-in, sender, service, rates) is retried: it is not the message. What is wrong with one recipient or one
message ends the delivery.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from notify_streams.delivery.providers.provider import ProviderOutcome

_RETRY: Final = ProviderOutcome.RETRY
_REJECTED: Final = ProviderOutcome.REJECTED
_DEAD: Final = ProviderOutcome.DEAD_TOKEN

OUTCOMES: Final[Mapping[str, ProviderOutcome]] = {
    "10001": _RETRY,  # Account is not active
    "10002": _RETRY,  # Trial accounts do not support the feature you tried to use
    "14107": _RETRY,  # SMS send rate limit exceeded
    "20001": _REJECTED,  # Unknown parameters
    "20003": _RETRY,  # Permission Denied
    "20004": _RETRY,  # Method not allowed
    "20005": _RETRY,  # Account not active
    "20006": _RETRY,  # Access Denied
    "20008": _RETRY,  # Test Credentials
    "20010": _RETRY,  # Action disabled for account
    "20011": _RETRY,  # Invalid TLS version
    "20012": _RETRY,  # Invalid TLSv1.2 Cipher Suite
    "20023": _DEAD,  # Phone number is not correct: it cannot be null or have non-decimal symbols
    "20101": _RETRY,  # Invalid Access Token
    "20102": _RETRY,  # Invalid Access Token header
    "20103": _RETRY,  # Invalid Access Token issuer/subject
    "20104": _RETRY,  # Access Token expired or expiration date invalid
    "20105": _RETRY,  # Access Token not yet valid
    "20106": _RETRY,  # Invalid Access Token grants
    "20107": _RETRY,  # Invalid Access Token signature
    "20151": _RETRY,  # Authentication Failed
    "20152": _RETRY,  # Invalid Header
    "20153": _RETRY,  # Invalid Issuer Or Subject
    "20154": _RETRY,  # Invalid Claim Set
    "20155": _RETRY,  # Expiration Time In The Future
    "20156": _RETRY,  # Expired or Invalid Expiration in Token
    "20157": _RETRY,  # Expiration Time Exceeds Maximum Time Allowed
    "20159": _RETRY,  # Invalid Signature
    "20160": _RETRY,  # Invalid Token
    "20162": _RETRY,  # A conflicting resource update is in progress
    "20403": _RETRY,  # 403 Forbidden
    "20404": _RETRY,  # Not Found
    "20409": _RETRY,  # Conflict
    "20410": _RETRY,  # Gone
    "20412": _RETRY,  # Precondition Failed
    "20413": _REJECTED,  # Request Entity Too Large
    "20422": _REJECTED,  # Invalid Parameter
    "20423": _RETRY,  # Invalid SID
    "20426": _RETRY,  # Upgrade Required
    "20429": _RETRY,  # Too Many Requests
    "20500": _RETRY,  # Internal Server Error
    "20503": _RETRY,  # Service unavailable
    "20504": _RETRY,  # Twilio Internal Error
    "21210": _RETRY,  # 'From' phone number not verified
    "21211": _DEAD,  # Invalid 'To' Phone Number
    "21212": _RETRY,  # Invalid From Number (caller ID)
    "21214": _REJECTED,  # 'To' phone number cannot be reached
    "21217": _DEAD,  # Phone number does not appear to be valid
    "21219": _REJECTED,  # 'To' phone number not verified
    "21264": _RETRY,  # 'From' phone number not verified
    "21265": _DEAD,  # 'To' number cannot be a Short Code
    "21266": _REJECTED,  # 'To' and 'From' numbers cannot be the same
    "21267": _RETRY,  # Alphanumeric Sender ID cannot be used on trial accounts
    "21268": _DEAD,  # Premium rate or Information Service number
    "21401": _RETRY,  # Invalid Phone Number: that of the sender, which is not ours or takes no SMS
    "21407": _REJECTED,  # This Phone Number type does not support SMS
    "21408": _REJECTED,  # Permissions disabled for the destination region
    "21421": _RETRY,  # Phone Number is invalid: one of a Messaging Service, or one to buy
    "21470": _RETRY,  # Invalid AccountSid
    "21471": _RETRY,  # Account does not exist
    "21472": _RETRY,  # Account is not active
    "21601": _REJECTED,  # Phone number is not a valid SMS-capable inbound phone number
    "21602": _REJECTED,  # Message body is required
    "21603": _RETRY,  # A 'From' or 'MessagingServiceSid' parameter is required to send a message
    "21604": _REJECTED,  # The destination 'To' phone number is required to send an SMS
    "21605": _REJECTED,  # Maximum body length is 160 characters (old API endpoint)
    "21606": _RETRY,  # 'From' is not a message-capable number of this account
    "21607": _RETRY,  # The 'from' phone number must be the sandbox phone number for trial accounts
    "21608": _REJECTED,  # The 'to' phone number provided is not yet verified for this account
    "21609": _RETRY,  # Invalid 'StatusCallback'
    "21610": _REJECTED,  # Attempt to send to unsubscribed recipient
    "21611": _RETRY,  # This 'From' number has exceeded the maximum number of queued messages
    "21612": _REJECTED,  # 'To' and 'From' cannot be combined
    "21614": _DEAD,  # 'To' number is not a valid mobile number
    "21616": _RETRY,  # The 'From' number matches multiple numbers for your account
    "21617": _REJECTED,  # The concatenated message body exceeds the 1600 character limit
    "21618": _REJECTED,  # The message body cannot be sent
    "21619": _REJECTED,  # A Message Body, Media URL or Content SID is required
    "21620": _REJECTED,  # Invalid media URL(s)
    "21621": _REJECTED,  # The 'From' number has not been enabled for MMS
    "21622": _REJECTED,  # MMS has not been enabled for your account
    "21623": _REJECTED,  # Number of media files exceeds allowed limit
    "21624": _REJECTED,  # Invalid validity period value
    "21626": _REJECTED,  # Invalid 'StatusCallbackEvent'
    "21627": _REJECTED,  # Max Price must be a valid float
    "21635": _DEAD,  # 'To' number cannot be a landline
    "21652": _REJECTED,  # Maximum subject length is 40 characters
    "21653": _REJECTED,  # There are more recipient addresses than allowed
    "21654": _REJECTED,  # ContentSid Required
    "21655": _REJECTED,  # The ContentSid is Invalid
    "21656": _REJECTED,  # The ContentVariables Parameter is invalid
    "21657": _REJECTED,  # The Sender ID is invalid
    "21658": _REJECTED,  # Parameter exceeded character limit
    "21659": _RETRY,  # 'From' is not a Twilio number, or of another country
    "21660": _RETRY,  # 'From' number is of another account
    "21661": _RETRY,  # 'From' number is not SMS-capable
    "21662": _REJECTED,  # 'From' and 'To' cannot be combined in the Ireland region
    "21663": _RETRY,  # 'From' number's routing configuration is incorrect
    "21664": _REJECTED,  # 'FallbackFrom' with a 'From' sender
    "21665": _REJECTED,  # Invalid 'FallbackFrom'
    "21666": _REJECTED,  # 'FallbackFrom' requires MessagingServiceSid
    "21667": _REJECTED,  # 'FallbackFrom' requires an RCS sender
    "21668": _RETRY,  # Number type not supported in the Ireland region
    "21701": _RETRY,  # The Messaging Service does not exist
    "21702": _RETRY,  # The Messaging Service is not available to send new messages
    "21703": _REJECTED,  # The Messaging Service does not have a phone number available to send a message
    "21704": _RETRY,  # The Messaging Service contains no phone numbers
    "21705": _RETRY,  # The Messaging Service is invalid
    "21708": _REJECTED,  # Alpha Sender ID Missing from the request
    "21709": _RETRY,  # Alpha Sender ID is Invalid or Not Authorized for this Messaging Service
    "21711": _RETRY,  # Phone Number, Shortcode, or AlphaSender is not associated to the specified Messaging Service
    "21729": _RETRY,  # Cannot perform operation on suspended campaign
    "21730": _RETRY,  # System under maintenance
    "21731": _RETRY,  # Cannot perform operation on suspended brand
    "21900": _REJECTED,  # DltPEId is invalid
    "21901": _REJECTED,  # DltTemplateId is invalid
    "21902": _REJECTED,  # InvoiceTag length must be between 0 and 32
    "21910": _REJECTED,  # 'From' and 'To' of different channels
    "30001": _RETRY,  # Queue overflow
    "30002": _RETRY,  # Account suspended
    "30003": _RETRY,  # Unreachable destination handset
    "30004": _REJECTED,  # Message blocked
    "30005": _DEAD,  # Unknown destination handset
    "30006": _DEAD,  # Landline or unreachable carrier
    "30007": _REJECTED,  # Message filtered
    "30008": _RETRY,  # Unknown error
    "30009": _REJECTED,  # Missing inbound segment
    "30010": _REJECTED,  # Message price exceeds max price
    "30011": _REJECTED,  # MMS not supported by the receiving phone number in this region
    "30012": _REJECTED,  # TTL is too small
    "30013": _REJECTED,  # TTL is too big
    "30014": _REJECTED,  # 'To' attributes are Invalid: the list is empty or too long
    "30015": _REJECTED,  # Non-supported channel type is used
    "30016": _REJECTED,  # 'To' and 'From' channel types are incompatible
    "30017": _RETRY,  # Carrier network congestion
    "30018": _REJECTED,  # Destination carrier requires sender ID pre-registration
    "30019": _REJECTED,  # Content size exceeds carrier limit
    "30020": _RETRY,  # Internal Failure with Message Scheduling
    "30021": _RETRY,  # Internal Failure with messaging service orchestrator
    "30022": _RETRY,  # US A2P 10DLC - Rate Limits Exceeded
    "30023": _RETRY,  # US A2P 10DLC - Daily Message Cap Reached
    "30024": _REJECTED,  # Numeric Sender ID Not Provisioned on Carrier
    "30027": _RETRY,  # US A2P 10DLC - T-Mobile Daily Message Limit Reached
    "30028": _RETRY,  # Invalid API version
    "30029": _REJECTED,  # Invalid ContentRetention
    "30030": _REJECTED,  # Invalid AddressRetention
    "30031": _REJECTED,  # Invalid MaxRate
    "30032": _RETRY,  # Toll-Free Number Has Not Been Verified
    "30033": _RETRY,  # US A2P 10DLC - Campaign Suspended
    "30034": _RETRY,  # US A2P 10DLC - Message from an Unregistered Number
    "30035": _RETRY,  # US A2P 10DLC - Message from a number still being configured
    "30036": _REJECTED,  # Validity Period Expired
    "30037": _RETRY,  # Outbound Messaging Disabled
    "30038": _REJECTED,  # OTP Message Body Filtered
    "30039": _REJECTED,  # Filtered to Prevent Message Loops
    "30040": _REJECTED,  # Destination carrier requires Sender ID pre-registration
    "30041": _REJECTED,  # Sender restricted or unregistered in a country requiring registration
    "30042": _REJECTED,  # Alphanumeric Sender ID is generic or unauthorized
    "30043": _REJECTED,  # International SMS via Domestic Gateway
    "30044": _REJECTED,  # Trial Message Length Exceeded
    "30045": _REJECTED,  # Validity Period out of range
    "30046": _REJECTED,  # Message delivery not confirmed
    "30400": _REJECTED,  # Parameters are not valid
    "30404": _REJECTED,  # Not Found
    "30409": _REJECTED,  # This message cannot be canceled
    "30410": _RETRY,  # Provider Timeout Error
    "30450": _RETRY,  # Message delivery blocked
    "30453": _REJECTED,  # Message couldn't be delivered
    "30454": _RETRY,  # Account exceeded the messages limit
    "30485": _REJECTED,  # Message couldn't be delivered
    "35111": _REJECTED,  # SendAt timestamp is missing
    "35114": _REJECTED,  # Scheduling does not support this timestamp
    "35118": _REJECTED,  # MessagingServiceSid is required to schedule a message
    "35125": _REJECTED,  # Maximum limit reached in the account for scheduling messages
    "35126": _REJECTED,  # The ScheduleType value provided is not supported for this channel
    "63001": _RETRY,  # Channel could not authenticate the request
    "63002": _RETRY,  # Channel could not find the From address
    "63003": _DEAD,  # Channel could not find To address
    "63005": _REJECTED,  # Channel did not accept given content
    "63006": _REJECTED,  # Could not format given content for the channel
    "63007": _RETRY,  # Twilio could not find a Channel with the specified From address
    "63008": _RETRY,  # Could not execute the request because the channel module has been misconfigured
    "63009": _RETRY,  # Channel provider returned an internal service error (HTTP 5xx)
    "63010": _RETRY,  # Twilio's platform encountered an internal error processing this message
    "63011": _REJECTED,  # Invalid Request: Twilio encountered an error while processing your request
    "63012": _RETRY,  # Channel provider returned an internal service error
    "63013": _REJECTED,  # Channel policy violation
    "63014": _REJECTED,  # Channel message blocked by user action
    "63015": _REJECTED,  # Channel Sandbox can only send messages to phone numbers that have joined the Sandbox
    "63016": _REJECTED,  # Freeform message outside the allowed window
    "63017": _RETRY,  # Rate limit exceeded
    "63018": _RETRY,  # Rate limit exceeded for Channel
    "63019": _REJECTED,  # Media failed to download
    "63020": _RETRY,  # Twilio encountered a Business Manager account error
    "63021": _REJECTED,  # Channel invalid content error
    "63022": _RETRY,  # Invalid vname certificate
    "63023": _RETRY,  # Channel generic error
    "63024": _DEAD,  # Invalid message recipient
    "63025": _REJECTED,  # Media already exists
    "63026": _REJECTED,  # Channel sender content flagged as spam
    "63027": _REJECTED,  # Template does not exist for a language and locale
    "63028": _REJECTED,  # Number of parameters provided does not match the expected number of parameters
    "63029": _REJECTED,  # The receiver failed to download the template
    "63030": _REJECTED,  # Unsupported parameter for type of channels message
    "63031": _REJECTED,  # Channels message cannot have same From and To
    "63032": _REJECTED,  # We cannot send this message to this user because of a WhatsApp limitation
    "63033": _REJECTED,  # Recipient blocked to receive message
    "63034": _REJECTED,  # Media exceeds size limit
    "63035": _REJECTED,  # This operation is blocked because the RBM agent has not launched and the recipient has not been invi
    "63036": _REJECTED,  # The specified phone number cannot be reached by RBM at this time
    "63037": _RETRY,  # Channel Media Upload Error
    "63038": _RETRY,  # Account exceeded the daily messages limit
    "63040": _REJECTED,  # Template Rejected
    "63041": _REJECTED,  # Template paused
}
