"""A GGUF file as a folder of transformers: `python safetensors_folder.py MODEL.gguf FOLDER`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path


def main(model: Path, folder: Path) -> None:
    import gguf
    import torch
    import transformers

    gguf.GGUFReader = functools.cache(gguf.GGUFReader)  # transformers opens the file three times, 5 seconds each
    where = {"gguf_file": model.name, "local_files_only": True}
    read = transformers.AutoModelForCausalLM.from_pretrained
    unpacked = transformers.GgufConfig(dequantize=True)
    read(str(model.parent), dtype=torch.float32, quantization_config=unpacked, **where).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(str(model.parent), **where).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
