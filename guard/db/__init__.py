"""Storage: engines, the one schema page, the commit pipeline, and the migrations."""
