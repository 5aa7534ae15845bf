"""What the functions are given: options, model, images, a study; checked before any work."""
