"""Real database servers for the tests: given ones, official images, or images built from Debian packages."""
