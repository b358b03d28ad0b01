"""How each kind of step is run when nobody listens: the work of the step without its run manager."""
