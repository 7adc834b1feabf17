"""Reading and writing of files: what others wrote, folders, locks."""
