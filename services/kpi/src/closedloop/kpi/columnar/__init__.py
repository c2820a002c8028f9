"""Records → columns, with the acceptance of `closedloop.common.events.decoder`, at a third of its cost.

Most records are proved fine all at once; one without proof goes to the common decoder, which is the truth.
"""
