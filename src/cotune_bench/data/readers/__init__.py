"""One file per data set: from its folder to a list of images."""
