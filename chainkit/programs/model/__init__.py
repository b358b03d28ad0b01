"""From the steps of a program to tokens of a local model or messages of a hosted one."""
