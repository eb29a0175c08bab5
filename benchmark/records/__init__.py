"""Result records, search histories and manifests: schema, strict reading, comparing, writing."""
