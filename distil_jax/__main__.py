"""`python -m distil_jax` is the command `distil-jax`."""

from distil_jax.cli import main

if __name__ == "__main__":
    main()
