"""What the program is: its version, which nothing else may have to import the package for."""

__version__ = "0.2.0"
