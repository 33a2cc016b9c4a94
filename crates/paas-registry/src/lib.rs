//! OCI images: layouts, archives, registries, layer append.
