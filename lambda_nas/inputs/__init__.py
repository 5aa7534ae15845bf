"""What the user brings: models, image folders, search spaces. Reads disks and the network."""
