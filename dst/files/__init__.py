"""Files that several processes and machines share: written atomically, read with suspicion, locked."""
