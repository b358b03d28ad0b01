"""What checks chainkit as it is installed, elsewhere than on the machine it is written on."""
