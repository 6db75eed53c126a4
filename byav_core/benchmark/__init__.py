"""The claims about binding, measured in the drawn world: read-outs of pixels and masks, conditions, experiments."""
