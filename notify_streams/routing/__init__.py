"""Router: a batch of trigger records in, one outcome for each record out.

`decision` and `lane` are pure functions; `notification_codec` writes BSON. No Kafka client and no database here.
"""
