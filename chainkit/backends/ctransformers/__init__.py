"""GGML files of 2023 that are not Llama (GPT-2, GPT-J, GPT-NeoX, MPT, Falcon, StarCoder, Dolly), on ctransformers."""
