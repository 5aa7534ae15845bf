from lambda_nas.cost.price_table import removal_sets_with


def every_set(layers, sizes):
    """Return all sets of the given numbers of layers of an isotropic model."""
    return [s for size in sizes for s in removal_sets_with((size,), (tuple(layers),), layers)]
