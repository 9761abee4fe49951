"""The webhook responder: any platform posts an alert and gets it back enriched."""
