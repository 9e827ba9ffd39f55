"""Programs: what the commands `gln-stream`, `gln-bandit` and `gln-draw` run. Nothing else imports them."""
