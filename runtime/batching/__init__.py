"""Jobs, the bounded queue in front of the engine, and the threads that run it."""
