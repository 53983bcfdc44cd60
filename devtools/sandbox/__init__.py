"""The provider sandbox: all providers in one local process.

FCM, APNs, a push service of browsers, Twilio and an SMTP server. It speaks their real protocols, shares no code with our clients, and
appends a line to the provider log for each message that it accepts. So tests can count what was sent. The newest messages are in
memory, for the page `/seen`.
"""
