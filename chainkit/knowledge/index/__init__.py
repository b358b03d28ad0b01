"""From blocks to passages that can be searched: splitting, storing, finding."""
