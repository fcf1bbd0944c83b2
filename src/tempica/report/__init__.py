"""One page that tells a scientist what was recovered, and how well."""
