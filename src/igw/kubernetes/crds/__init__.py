"""The CustomResourceDefinitions of the inference APIs: limits, defaults and columns of the published ones, in words of our own."""
