"""What connects the library with other packages; each module is imported only when it is asked for."""
