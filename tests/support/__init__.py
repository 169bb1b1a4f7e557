"""What tests of several concepts share; each helper once."""
