"""``mmstream transcribe`` behind its options: files cut into pieces, heard in parallel, and joined to captions."""
