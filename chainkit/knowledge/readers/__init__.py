"""One file per kind of document; each turns a file into blocks, in order, without holding more than it must."""
