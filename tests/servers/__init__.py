"""Real servers for the tests: started by fixtures, on free ports of 127.0.0.1, gone when the run ends, however it ends."""
