"""What the models do when they run: inputs to feed them, differences of outputs, accuracy and latency."""
