"""A stand-in for adb, a phone, and ONNX Runtime's tools for Android."""
