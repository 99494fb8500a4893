"""The formats of a store on disk."""
