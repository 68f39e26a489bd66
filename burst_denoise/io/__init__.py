"""All foreign formats: raw files, pictures, metadata, DNG; read and written here and nowhere else."""
