"""What benchmarks came to: one document, and the tables, pages and charts that are made of it and of nothing else."""
