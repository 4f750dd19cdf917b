"""The jobs, a few lines each: call one service, log what it did."""
