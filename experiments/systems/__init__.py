"""The systems this project descends from, one file each: networks, losses and recipes as their sources describe."""
