"""What a person typed into a form of a deal and has not saved: theirs, on all their devices, until they save or discard it."""
