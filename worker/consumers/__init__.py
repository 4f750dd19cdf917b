"""The loops beside arq that seal the events and have their effects: each lives through any outage, with or without Redis."""
