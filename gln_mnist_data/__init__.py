"""The MNIST digits, embedded so that everything here runs offline; see PROVENANCE.md beside this file."""
