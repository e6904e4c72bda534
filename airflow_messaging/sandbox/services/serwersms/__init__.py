"""SerwerSMS.pl, imitated."""
