"""From the tree of a program to its steps: executor, slots, loops, tools, scheduler."""
