"""The header of a GGUF file; its reader is `sizing`'s, which reads the headers of files on a hub as well."""

from chainkit.sizing.header import TENSOR_TYPES, Array, Header, Tensor, read_header

__all__ = ["TENSOR_TYPES", "Array", "Header", "Tensor", "read_header"]
