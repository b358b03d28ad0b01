"""GGUF models on a CPU, over llama.cpp's C API."""
