"""A page to draw digits on and teach a network. Needs the extra `page`."""
