"""Published systems as data, and the commands that list, import and export them."""
